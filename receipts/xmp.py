"""What the file claims in its XMP packet: PDF/UA, and Factur-X where an invoice is embedded, each with its schema.

All in one `rdf:RDF`, since readers take the first one only, and one `pdfaExtension:schemas`, which may stand once.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schema:
    """A namespace with its properties: name, type and what it is."""

    title: str
    uri: str
    prefix: str
    properties: tuple[tuple[str, str, str, str], ...]


UA = Schema(
    "PDF/UA identification schema",
    "http://www.aiim.org/pdfua/ns/id/",
    "pdfuaid",
    (("part", "Integer", "internal", "Part of ISO 14289 that the file conforms to"),),
)
FX = Schema(
    "Factur-X PDFA Extension Schema",
    "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#",
    "fx",
    (
        ("DocumentFileName", "Text", "external", "The name of the embedded XML document"),
        ("DocumentType", "Text", "external", "The type of the hybrid document in capital letters"),
        ("Version", "Text", "external", "The version of the standard of the embedded XML document"),
        ("ConformanceLevel", "Text", "external", "The conformance level of the embedded XML document"),
    ),
)
FX_VALUES = {
    "DocumentType": "INVOICE",
    "DocumentFileName": "factur-x.xml",
    "Version": "1.0",
    "ConformanceLevel": "EN 16931",
}


def claims(*, is_hybrid: bool) -> bytes:
    """The RDF descriptions to stand inside the file's own RDF."""
    said = _description(UA, {"part": "1"}) + (_description(FX, FX_VALUES) if is_hybrid else "")
    schemas = "".join(map(_schema, (UA, FX) if is_hybrid else (UA,)))
    extension = (
        '<rdf:Description rdf:about="" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/" '
        'xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#" '
        'xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">'
        f"<pdfaExtension:schemas><rdf:Bag>{schemas}</rdf:Bag></pdfaExtension:schemas></rdf:Description>"
    )
    return (said + extension).encode()


def _description(schema: Schema, values: dict[str, str]) -> str:
    said = "".join(f"<{schema.prefix}:{name}>{value}</{schema.prefix}:{name}>" for name, value in values.items())
    return f'<rdf:Description rdf:about="" xmlns:{schema.prefix}="{schema.uri}">{said}</rdf:Description>'


def _schema(schema: Schema) -> str:
    properties = "".join(
        '<rdf:li rdf:parseType="Resource">'
        f"<pdfaProperty:name>{name}</pdfaProperty:name><pdfaProperty:valueType>{kind}</pdfaProperty:valueType>"
        f"<pdfaProperty:category>{category}</pdfaProperty:category>"
        f"<pdfaProperty:description>{text}</pdfaProperty:description></rdf:li>"
        for name, kind, category, text in schema.properties
    )
    return (
        f'<rdf:li rdf:parseType="Resource"><pdfaSchema:schema>{schema.title}</pdfaSchema:schema>'
        f"<pdfaSchema:namespaceURI>{schema.uri}</pdfaSchema:namespaceURI>"
        f"<pdfaSchema:prefix>{schema.prefix}</pdfaSchema:prefix>"
        f"<pdfaSchema:property><rdf:Seq>{properties}</rdf:Seq></pdfaSchema:property></rdf:li>"
    )
