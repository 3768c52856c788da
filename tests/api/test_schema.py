"""The HTTP contract as a document for programs and as a page for people."""

from tests.api.host import Host


def test_programs_get_the_document_and_browsers_a_page_of_it(host: Host) -> None:
    document = host.client.get("/schema").json()
    assert document["openapi"].startswith("3.1")
    page = host.client.get("/schema", headers={"Accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    for path, methods in document["paths"].items():
        if path.startswith("/v1/accounts/{accountId}/"):
            continue
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in page.text
    assert "<script" not in page.text and "http" not in page.text.split("</head>")[0]


def test_every_list_says_its_pages_in_the_same_words(host: Host) -> None:
    schemas = host.client.get("/schema").json()["components"]["schemas"]
    assert [name for name in schemas if "Pagination" in name] == ["Pagination"]
