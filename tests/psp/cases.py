"""What every rail must survive, case by case, and the tests that show it; `test_cases.py` holds the two together.

A test is named `file::name` under `tests/`, without `test_` at either place.
"""

INGEST = {
    "a wrong secret": (
        "psp/stripe_events::the_secret_of_another_endpoint_is_refused",
        "sandbox/signature::a_wrong_secret_is_refused",
    ),
    "two live secrets during rotation": (
        "psp/stripe_events::both_secrets_hold_during_a_rotation",
        "psp/paddle_events::both_secrets_hold_during_a_rotation",
    ),
    "301 seconds old": (
        "psp/stripe_events::a_timestamp_may_lie_300_seconds_back_and_60_ahead",
        "psp/paddle_events::a_timestamp_may_lie_300_seconds_back_and_60_ahead_whatever_test_mode_says",
        "psp/moonpay::a_timestamp_may_lie_300_seconds_back_and_60_ahead",
    ),
    "a body written anew": (
        "psp/stripe_events::a_body_written_anew_is_refused",
        "psp/paddle_events::a_body_written_anew_is_refused",
    ),
    "bytes that are not UTF-8": (
        "psp/stripe_events::bytes_that_are_not_text_are_refused",
        "e2e/paddle::forged_stale_and_misdirected_webhooks_are_refused_though_test_mode_is_set",
    ),
    "an empty secret configured": (
        "psp/stripe_events::blank_or_missing_secrets_are_refused_at_the_start",
        "psp/paddle_events::a_rail_without_secrets_is_not_made",
        "psp/moonpay::keys_that_contradict_each_other_make_no_rail",
    ),
    "a junk or doubled signature header, or one in lower case": (
        "psp/stripe_events::a_junk_or_doubled_signature_header_is_refused",
        "psp/paddle_events::a_header_that_is_not_exactly_paddles_is_refused",
        "psp/moonpay::a_header_that_is_not_exactly_moonpays_is_refused",
        "e2e/paddle::forged_stale_and_misdirected_webhooks_are_refused_though_test_mode_is_set",
    ),
    "a body over the limit": (
        "e2e/stripe::forged_and_stale_webhooks_are_refused_and_change_nothing",
        "attacks/web::a_webhook_that_was_changed_or_signed_by_another_or_long_ago_is_refused",
    ),
    "a valid signature over a list, or over a body without an id": (
        "psp/stripe_events::a_valid_signature_over_something_else_than_an_event_is_refused",
        "psp/paddle_events::signed_bytes_that_are_no_event_are_refused",
        "psp/moonpay::signed_bytes_that_are_no_event_are_refused",
    ),
    "Apple: two certificates, a missing mark, a leaf that had ended": (
        "stores/apple_signed::a_forged_transaction_is_refused",
    ),
    "Apple: a sandbox transaction in production": (
        "stores/apple_signed::a_sandbox_purchase_is_never_credited_in_production",
    ),
    "Apple cannot be asked about its certificates, and later can": (
        "stores/apple_signed::what_is_new_is_held_up_while_apple_cannot_be_asked",
    ),
    "Google: a push token for another audience": (
        "stores/google_push::tokens_that_are_no_tokens_of_googles_are_refused",
    ),
    "one provider's event on another's address": (
        "e2e/paddle::forged_stale_and_misdirected_webhooks_are_refused_though_test_mode_is_set",
    ),
    "an event of an unknown type": (
        "psp/stripe_events::an_unknown_type_is_an_event_all_the_same",
        "psp/paddle_events::a_type_we_do_not_follow_is_an_event_about_nothing",
        "e2e/paddle::forged_stale_and_misdirected_webhooks_are_refused_though_test_mode_is_set",
    ),
}

AT_ONCE = {
    "the same event twice": ("flows/topups::a_repeated_payment_event_credits_once",),
    "many deliveries of it at once": ("e2e/paddle::a_crowd_of_the_same_webhook_credits_once",),
    "a crash after the commit and before the answer": (
        "e2e/stripe::killed_between_webhooks_and_spends_it_credits_once_and_forgets_nothing",
    ),
    "a webhook before our own transaction is committed": (
        "flows/at_once::a_webhook_that_is_carried_out_before_our_own_checkout_is_written_credits_once",
        "psp/paddle_purchases::a_payment_of_a_checkout_whose_answer_was_lost_for_good_lands_all_the_same",
    ),
    "the redirect and the webhook at once": ("flows/at_once::the_return_page_and_the_webhook_at_once_credit_once",),
    "Paddle: a replay with a new id": ("psp/paddle_purchases::a_replay_under_a_new_event_id_credits_nothing",),
    "Google: a push with a new message id": (
        "stores/google_purchases::the_push_may_come_first_and_again_with_another_id",
    ),
    "a poll and a webhook at once": ("flows/at_once::a_poll_and_a_webhook_at_once_credit_once",),
    "409: the key is in use": ("psp/stripe_troubles::what_may_yet_be_done_is_unreachable_for_every_call",),
    "one app purchase posted by two accounts at once": (
        "stores/apple_purchases::of_many_who_post_one_purchase_at_once_one_has_it",
        "stores/google_purchases::of_many_who_post_one_token_at_once_one_has_it",
    ),
}

ORDER = {
    "a dispute before its payment is known": (
        "flows/follow_up::a_refund_and_a_dispute_heard_of_before_their_payment_are_matched_later",
        "psp/paddle_purchases::a_chargeback_heard_of_before_the_payment_brings_the_payment_with_it",
    ),
    "expired, then completed and paid": ("psp/stripe::money_that_arrives_after_the_expiry_still_wins",),
    "a subscription deleted before it was created": (
        "psp/stripe_subscriptions::events_in_any_order_make_the_same_books",
        "api/subscriptions::events_in_any_order_and_number_end_in_the_same_books",
    ),
    "two updates within one second": (
        "psp/stripe_sightings::the_last_sighting_stays_in_whatever_order_they_come",
        "rules/sightings::of_two_sightings_of_one_instant_the_more_final_one_counts",
    ),
    "a refund reversed before it was heard of": (
        "stores/apple_purchases::a_refund_that_arrives_after_its_reversal_takes_nothing",
    ),
    "an old word after the last one": (
        "rules/sightings::an_older_word_changes_nothing",
        "flows/life_stories::the_books_do_not_depend_on_order_repetition_or_loss",
    ),
    "a renewal's invoice before its subscription": (
        "api/store_subscriptions::a_renewal_before_its_subscription_waits_and_is_granted_once",
    ),
}

MONEY = {
    "an unpaid session grants nothing": (
        "flows/topups::an_unpaid_session_grants_nothing_and_a_late_payment_beats_its_expiry",
    ),
    "a coupon of 100 % without a payment": (
        "psp/stripe::a_discount_of_all_is_a_payment_of_nothing_and_no_credits_without_a_look",
    ),
    "tax on top": (
        "psp/stripe::tax_on_top_buys_no_credits",
        "psp/paddle::the_amount_is_counted_as_the_price_is_with_tax_or_before_it",
    ),
    "JPY": (
        "psp/stripe::every_currency_is_counted_as_stripe_counts_it_and_back",
        "psp/paddle::amounts_are_strings_in_the_currencys_minor_units",
    ),
    "the shopper saw another currency": (
        "psp/stripe_shares::what_a_shopper_saw_in_their_own_currency_changes_nothing_of_ours",
    ),
    "money back in another currency": (
        "api/cases::money_that_went_back_in_another_currency_is_never_counted_by_its_number",
        "psp/stripe_shares::a_refund_in_another_currency_than_its_charge_is_told_in_its_own_and_takes_nothing",
    ),
    "another amount or currency than agreed": (
        "flows/topups::another_amount_or_currency_is_quarantined_without_credits",
    ),
    "Paddle's strings and MoonPay's numbers": (
        "psp/paddle::amounts_are_strings_in_the_currencys_minor_units",
        "psp/moonpay::an_amount_is_read_exactly_and_never_rounded_up",
    ),
    "three of a consumable": (
        "stores/apple_purchases::a_product_may_name_its_credits_and_quantity_multiplies",
        "stores/google_purchases::quantities_are_multiplied_and_voided_one_by_one",
    ),
    "a bonus at the edge of its tier": ("rules/quotes::a_tier_ends_where_the_next_starts",),
    "amounts over 2^53": ("psp/moonpay::an_amount_past_what_a_float_can_hold_is_read_digit_by_digit",),
}

BACK = {
    "a refund that is only pending": (
        "psp/stripe_refunds::a_refund_under_way_is_pending_until_it_succeeds",
        "psp/paddle_refunds::a_refund_in_the_dashboard_is_nothing_until_paddle_approves_it",
    ),
    "credits taken while a hold is open": ("flows/holds::what_is_held_counts_as_spent_when_the_money_goes_back",),
    "a dispute won after credits were taken": ("flows/refunds::a_dispute_won_returns_everything",),
    "a warning closed or prevented moves nothing": (
        "psp/stripe_refunds::a_dispute_is_what_it_may_still_become",
        "psp/paddle_refunds::a_warning_moves_nothing",
        "psp/stripe_shares::a_dispute_ends_the_warning_before_it",
    ),
    "a dispute about a part": ("psp/stripe_refunds::a_dispute_may_be_about_a_part",),
    "two disputes of one charge": ("psp/stripe_refunds::two_disputes_of_one_payment_are_two",),
    "Paddle rejects a refund": ("psp/paddle_purchases::a_refund_that_paddle_rejects_gives_the_credits_back",),
    "a chargeback, then its reversal": (
        "psp/paddle_purchases::a_chargeback_of_spent_credits_is_owed_and_paddles_win_forgives_it",
    ),
    "Google: one of three voided": ("stores/google_purchases::quantities_are_multiplied_and_voided_one_by_one",),
    "our own refund and its webhook are one": (
        "psp/stripe_refunds::our_own_refund_and_its_events_are_one",
        "flows/refunds::the_providers_own_word_about_our_refund_is_the_same_refund",
    ),
    "a refund made in the dashboard": (
        "e2e/stripe::a_refund_in_stripes_dashboard_takes_the_credits_back",
        "psp/paddle_purchases::a_refund_in_paddles_dashboard_takes_its_share_once_it_is_approved",
    ),
    "a refund of one of two charges": (
        "api/second_payments::a_refund_made_at_the_provider_ends_it_and_takes_no_credits",
    ),
    "more than was paid": (
        "psp/stripe_refunds::more_than_is_left_of_the_payment_is_refused",
        "flows/policy_refunds::support_stays_within_the_unspent_share_and_an_admin_within_what_was_paid",
    ),
    "a refund of credits that expired": (
        "stores/apple_subscriptions::a_refund_takes_back_what_is_left_and_an_old_one_does_not_end_the_plan",
    ),
    "a refund that fails after its note": (
        "flows/policy_refunds::a_credit_note_whose_refund_fails_days_later_is_cancelled_by_a_document",
    ),
}

BY_ITSELF = {
    "the bank wants the customer: a link to that same payment": (
        "psp/stripe_recharge::a_bank_that_asks_is_answered_on_the_same_intent",
    ),
    "the card was detached meanwhile": ("flows/recharge::a_card_removed_before_the_bank_was_asked_is_not_charged",),
    "the monthly cap under concurrency": (
        "flows/at_once::many_workers_that_look_at_a_wallet_at_once_never_pass_its_cap",
    ),
    "three failures switch it off": ("flows/recharge::the_third_decline_in_a_row_switches_it_off_and_says_so",),
    "invoice.paid and invoice.payment_succeeded": (
        "psp/stripe_renewals::an_invoice_told_under_both_of_its_names_is_paid_once",
    ),
    "a proration's invoice": ("psp/stripe_subscriptions::an_upgrade_costs_what_its_preview_said_to_the_cent",),
    "a trial of nothing": ("psp/stripe_subscriptions::a_trial_costs_nothing_and_gives_its_own_credits",),
    "cancelled while it renews": (
        "psp/stripe_renewals::a_renewal_that_was_charged_as_its_plan_is_cancelled_is_paid_for_and_the_last",
    ),
    "a renewal by webhook and by poll": (
        "psp/stripe_renewals::a_renewal_that_a_poll_brought_is_nothing_new_to_its_webhook",
    ),
    "Apple: each renewal once": (
        "stores/apple_subscriptions::a_subscription_begins_renews_and_ends_with_what_apple_says",
    ),
    "a grace period grants nothing until it is paid": (
        "stores/apple_subscriptions::a_failed_renewal_grants_nothing_until_it_is_paid",
        "psp/stripe_subscriptions::a_declined_renewal_is_past_due_without_credits_until_it_is_paid",
    ),
    "Google: an upgrade that links to the old purchase token": (
        "stores/google_changes::an_upgrade_at_the_difference_adds_the_difference",
        "stores/google_changes::of_a_chain_of_changes_all_that_was_paid_is_found_by_the_last_push",
    ),
}

STORES = {
    "another account's token": (
        "stores/apple_purchases::another_accounts_purchase_is_not_there",
        "stores/google_purchases::another_accounts_purchase_is_not_there",
    ),
    "Google: pending, then paid": ("stores/google_purchases::a_pending_purchase_is_credited_when_it_is_paid",),
    "consuming fails": (
        "stores/google_purchases::consuming_is_tried_until_google_takes_it",
        "stores/google_purchases::what_can_never_be_consumed_is_given_up_after_four_days",
    ),
    "acknowledged elsewhere": ("stores/google_purchases::what_was_acknowledged_elsewhere_is_consumed_all_the_same",),
    "restored in another account": (
        "api/store_subscriptions::one_renewal_belongs_to_one_account",
        "stores/apple_purchases::another_accounts_purchase_is_not_there",
    ),
    "the provider is down while its word is worked on": (
        "stores/google_purchases::while_google_is_down_nothing_is_lost",
        "psp/paddle_purchases::while_paddle_is_down_events_wait_and_nothing_is_lost",
        "api/cases::what_keeps_failing_is_shown_and_still_tried_until_it_works",
    ),
    "a poll that crashed repeats a page": (
        "flows/reconcile::the_cursor_moves_only_after_what_was_read_is_stored",
        "stores/wiring::a_poll_that_is_repeated_brings_nothing_twice",
    ),
    "an endpoint that takes nothing for days": (
        "psp/paddle_purchases::what_no_webhook_brought_is_polled_healed_and_raises_the_alarm",
        "psp/moonpay_purchases::reconciliation_finds_what_no_webhook_brought_and_raises_the_alarm",
        "flows/reconcile::a_payment_whose_webhook_was_lost_is_granted",
    ),
    "ids are of one account at the provider": (
        "flows/at_once::an_objects_id_is_claimed_once_in_each_account_and_mode_of_its_provider",
    ),
    "a question before a refund: the exact share, and nothing without consent": (
        "stores/apple_questions::the_spent_share_is_told_exactly",
        "stores/apple_questions::without_consent_nothing_is_sent",
        "stores/google_purchases::a_bank_that_asks_is_told_the_exact_share",
    ),
}

CASES: dict[str, tuple[str, ...]] = {**INGEST, **AT_ONCE, **ORDER, **MONEY, **BACK, **BY_ITSELF, **STORES}
