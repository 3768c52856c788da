"""The engine: credits kept, priced, bought, spent in order and taken back. It knows no HTTP and no provider by name.

```
            HTTP, pages, command line                        api/
                 │            │
     documents  ─┤            ├─  providers                   receipts/   psp/
                 ▼            ▼
   jobs      what time or a commit has made due               engine/jobs.py
   flows     what happens, in order, when something happens   engine/flows/
   runtime   what a running Purser is made of                 engine/runtime.py
   book      the single write path for credits                engine/book.py  engine/group_commit.py
                                                              engine/lane_process.py
   store     the only place that speaks SQL                   engine/store/
   payments  what is asked of a provider                      engine/payments.py   engine/recurring.py
   rules     what is allowed: pure functions on frozen values engine/rules/
```

Nothing points back up; import contracts say so.

The words, one for each idea, in code, API, pages and documents:

* **account**: the customer; owns exactly one **wallet**, the unit of locking.
* **bucket**: `limited_time`, `monthly` or `recharge`, always spent in that order.
* **lot**: credits granted together: one bucket, one source, one expiry, what remains. A **grant** makes one.
* **front lot**: the first lot in spend order, carried in the wallet's own row while spends draw from it.
* **spend**: the command that takes credits, made of **draws**, one per lot touched.
* **hold**, **capture**, **void**: reserve credits and pin their lots; take all or part of them; give them all back.
* **transaction**, **entry**: one ledger row with its place in the wallet's history; its legs, one per lot touched.
* **expiry**: what is left of a lot leaves the wallet at `expires_at`.
* **reversal**: a new transaction that undoes an earlier one. **refund**: money goes back, and its credits with it.
* **lane**: where commands of many callers are committed together: a thread, or a server's process beside it.
* **debt**: credits owed because money was taken back after its credits were spent.
* **quote → purchase → payment → receipt**: a price offer, the intention to pay, the provider's facts, the document.
* **proposal**: a grant or debit that waits for a person. **queue**: what waits, of one sort, at the support desk.
* **plan**, **subscription**, **invoice**: a tier of the catalogue; the running agreement to pay for one; what pays for
  a period of it, month by month. **entitlement**: what a plan, or an override for one account, allows.
* **auto-recharge**: a saved card charged when little is left; **commit plan**: months paid upfront.
* **fact**: what a provider said of one of its objects; the newest version of each counts.

Where to start: `rules/lots.py` (what is spent first), `rules/decisions.py` (what a command does), `book.py` (the
three steps of every write), `flows/converge.py` (how a payment becomes credits).
"""
