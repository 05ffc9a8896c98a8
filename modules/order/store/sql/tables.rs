//! Tables of the order store.

diesel::table! {
    orders (id) {
        id -> BigInt,
        order_number -> Text,
        customer -> Text,
        customer_name -> Text,
        email -> Nullable<Text>,
        status -> Text,
        settle -> Nullable<Text>,
        total -> Text,
        reason -> Nullable<Text>,
        lease_until -> BigInt,
        created_at -> BigInt,
        hidden -> Bool,
        traceparent -> Nullable<Text>,
    }
}
diesel::table! {
    order_lines (id) {
        id -> BigInt,
        order_id -> BigInt,
        sku_code -> Text,
        quantity -> BigInt,
        price -> Nullable<Text>,
    }
}
diesel::table! {
    idempotency_keys (scope, idem_key) {
        scope -> Text,
        idem_key -> Text,
        fingerprint -> Text,
        order_id -> BigInt,
        created_at -> BigInt,
    }
}
