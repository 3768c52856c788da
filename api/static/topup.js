// The live quote of the top-up page. Without this script the same page works by "Update quote".
"use strict";

(() => {
  const ask = document.getElementById("ask");
  const pay = document.getElementById("pay");
  if (!ask || !pay) return;
  const amount = document.getElementById("amount");
  const problem = document.getElementById("problem");
  const coupon = document.getElementById("coupon");
  const couponProblem = document.getElementById("coupon-problem");
  const offer = document.getElementById("offer");
  const noOffer = document.getElementById("no-offer");
  const upsell = document.getElementById("upsell");
  const payButton = pay.querySelector("button");
  const unit = ask.dataset;
  const digits = Number(unit.digits);
  const say = JSON.parse(unit.say);
  const DEBOUNCE_MS = 250;
  let timer = 0;
  let refresh = 0;
  let running = null;
  let isLeaving = false;
  let code = coupon ? coupon.value.trim() : "";
  let isTyping = false;
  let unknown = null;

  document.getElementById("update").hidden = true;

  const fillIn = (text, values) =>
    text.replace(/%\((\w+)\)s|%%/g, (found, name) => (name ? values[name] : "%"));
  const group = (text) => text.replace(/\B(?=(\d{3})+$)/g, say.group);

  function inCurrency(text) {
    if (unit.currency !== "USD") return `${text}${say.isMoneyFirst ? " " : "\u00a0"}${unit.currency}`;
    return say.isMoneyFirst ? `$${text}` : `${text}\u00a0$`;
  }

  function money(minor, isShort) {
    const text = String(minor).padStart(digits + 1, "0");
    const whole = group(text.slice(0, text.length - digits));
    const part = digits ? text.slice(-digits) : "";
    return inCurrency(part && !(isShort && /^0+$/.test(part)) ? `${whole}${say.decimal}${part}` : whole);
  }

  const inCurrencyUsd = (text) => (say.isMoneyFirst ? `$${text}` : `${text}\u00a0$`);

  function credits(text) {
    if (unit.usd === "no") return group(text);
    const micro = (BigInt(text) * 1000000n) / BigInt(unit.perUsd);
    const part = String(micro % 1000000n).padStart(6, "0").replace(/0+$/, "").padEnd(2, "0");
    return inCurrencyUsd(`${group(String(micro / 1000000n))}${say.decimal}${part}`);
  }

  function withUnit(text) {
    if (unit.usd === "yes") return credits(text);
    return `${credits(text)} ${text === "1" ? unit.singular : unit.plural}`;
  }

  function perCredit(text) {
    if (unit.usd === "yes") return null;
    const [whole, part = ""] = text.split(".");
    const places = part.replace(/0+$/, "").padEnd(2, "0");
    return fillIn(say.price, { price: inCurrency(`${group(whole)}${say.decimal}${places}`), unit: unit.singular });
  }

  // The same reading as the server's: commas before groups of three are thousands, else a decimal comma.
  function minorOf(text) {
    let bare = text.replace(/\s/g, "");
    if (bare.startsWith("$")) bare = bare.slice(1);
    if (bare.endsWith(unit.currency)) bare = bare.slice(0, -unit.currency.length);
    if (/^\d{1,3}(,\d{3})+(\.\d*)?$/.test(bare)) bare = bare.replace(/,/g, "");
    else if (/^\d+([.,]\d*)?$/.test(bare)) bare = bare.replace(",", ".");
    else return null;
    const [whole, part = ""] = bare.split(".");
    if (part.length > digits || whole.length > 9) return null;
    return Number(whole + part.padEnd(digits, "0"));
  }

  function plain(minor) {
    const text = String(minor).padStart(digits + 1, "0");
    const part = digits ? text.slice(-digits) : "";
    const whole = text.slice(0, text.length - digits);
    return part && !/^0+$/.test(part) ? `${whole}.${part}` : whole;
  }

  const chosenProvider = () => new FormData(ask).get("provider") || "";

  function write(name, text) {
    const place = document.querySelector(`[data-fact="${name}"]`);
    place.textContent = text || "";
    const row = document.querySelector(`[data-row="${name}"]`);
    if (row) row.hidden = !text;
    else if (name === "badge") place.hidden = !text;
  }

  function mark(field, place, text) {
    if (!field) return;
    place.textContent = text;
    if (text) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }

  function refuse(text, ofCoupon = "") {
    mark(amount, problem, text);
    mark(coupon, couponProblem, ofCoupon);
    offer.hidden = true;
    upsell.hidden = true;
    noOffer.hidden = false;
    payButton.disabled = true;
    payButton.textContent = say.payNothing;
    pressed(null);
  }

  function pressed(minor) {
    for (const button of ask.querySelectorAll(".presets button")) {
      button.setAttribute("aria-pressed", String(minor !== null && button.value === String(minor)));
    }
  }

  function show(quote) {
    mark(amount, problem, "");
    mark(coupon, couponProblem, "");
    offer.hidden = false;
    noOffer.hidden = true;
    write("receive", withUnit(quote.credits));
    write("badge", quote.saveBadge ? fillIn(say.badge, { percent: quote.saveBadge }) : "");
    write("bonus", quote.bonusCredits === "0" ? "" : withUnit(quote.bonusCredits));
    write("coupon", quote.couponCredits === "0" ? "" : withUnit(quote.couponCredits));
    write("price", perCredit(quote.pricePerCredit));
    write("after", withUnit(quote.balanceAfter));
    const next = quote.nextTier && quote.nextTier.near ? quote.nextTier : null;
    upsell.hidden = !next;
    if (next) {
      upsell.value = next.fromMinor;
      upsell.textContent = fillIn(unit.usd === "yes" ? say.upsellUsd : say.upsell, {
        money: money(next.addMinor, true),
        amount: credits(next.extraCredits),
        unit: unit.plural,
      });
    }
    pay.elements.amount_minor.value = quote.amountMinor;
    pay.elements.provider.value = chosenProvider();
    pay.elements.quote_token.value = quote.quoteToken;
    pay.elements.coupon.value = quote.coupon ? quote.coupon.code : "";
    payButton.textContent = fillIn(say.pay, { money: money(quote.amountMinor, false) });
    payButton.disabled = isTyping;
    pressed(quote.amountMinor);
    refresh = setTimeout(fetchQuote, (Number(unit.ttl) * 60 - 30) * 1000);
  }

  // An unknown code is not asked for again: each time counts as a guess, and guesses are few.
  function refuseCoupon(asked, body) {
    const said = say[body.detail] || body.detail;
    if (body.code.endsWith("COUPON-001")) unknown = { code: asked, said };
    refuse("", said);
  }

  async function fetchQuote() {
    clearTimeout(timer);
    clearTimeout(refresh);
    if (running) running.abort();
    if (isLeaving) return;
    const minor = minorOf(amount.value);
    if (minor === null) {
      refuse(amount.value.trim() ? unit.malformed : "");
      return;
    }
    if (minor < Number(unit.min) || minor > Number(unit.max)) {
      refuse(minor < Number(unit.min) ? unit.least : unit.most);
      return;
    }
    if (unknown && code === unknown.code) {
      refuse("", unknown.said);
      return;
    }
    const mine = new AbortController();
    running = mine;
    const query = new URLSearchParams({ amountMinor: minor, currency: unit.currency, platform: ask.elements.platform.value });
    if (chosenProvider()) query.set("provider", chosenProvider());
    const asked = code;
    if (asked) query.set("coupon", asked);
    try {
      const answer = await fetch(`/v1/billing/quote?${query}`, { signal: mine.signal, headers: { accept: "application/json" } });
      const body = await answer.json();
      if (running !== mine || isLeaving) return;
      if (answer.ok) show(body);
      else if (answer.status === 401) refuse(say.signedOut);
      else if (asked && /(COUPON|RATE)-\d+$/.test(body.code)) refuseCoupon(asked, body);
      else refuse(body.detail);
    } catch (error) {
      if (error.name === "AbortError" || running !== mine) return;
      refuse(say.unreachable);
    }
  }

  function takeCode() {
    code = coupon ? coupon.value.trim() : "";
    isTyping = false;
    fetchQuote();
  }

  function soon() {
    payButton.disabled = true;
    clearTimeout(timer);
    timer = setTimeout(fetchQuote, DEBOUNCE_MS);
  }

  function fill(event) {
    event.preventDefault();
    amount.value = plain(Number(event.currentTarget.value));
    fetchQuote();
  }

  amount.addEventListener("input", soon);
  // A code is asked for once it is typed: half of one is a guess too.
  if (coupon) {
    coupon.addEventListener("input", () => {
      isTyping = true;
      payButton.disabled = true;
    });
    coupon.addEventListener("blur", () => {
      if (isTyping) takeCode();
    });
  }
  ask.addEventListener("change", (event) => {
    if (event.target.name !== "provider") return;
    for (const form of document.querySelectorAll("form.commit")) form.elements.provider.value = chosenProvider();
    soon();
  });
  ask.addEventListener("submit", (event) => {
    event.preventDefault();
    takeCode();
  });
  for (const button of [...ask.querySelectorAll(".presets button"), upsell]) button.addEventListener("click", fill);
  pay.addEventListener("submit", (event) => {
    if (isLeaving) {
      event.preventDefault();
      return;
    }
    isLeaving = true;
    payButton.setAttribute("aria-disabled", "true");
    payButton.textContent = say.leaving;
  });
  // A page kept by the browser's back button carries a used key: it is loaded afresh.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) window.location.reload();
  });
  if (amount.value !== amount.defaultValue || (coupon && coupon.value !== coupon.defaultValue)) soon();
})();
