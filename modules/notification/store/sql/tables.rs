//! Tables of notification's SQL store.

diesel::table! {
    notifications (id) {
        id -> BigInt,
        event_id -> Text,
        customer -> Text,
        #[sql_name = "type"]
        kind -> Text,
        order_number -> Nullable<Text>,
        title -> Text,
        message -> Text,
        created_at -> BigInt,
        read -> Bool,
    }
}
diesel::table! {
    deliveries (id) {
        id -> BigInt,
        event_id -> Text,
        channel -> Text,
        target -> Text,
        event_type -> Text,
        body -> Text,
        state -> Text,
        attempts -> BigInt,
        last_error -> Nullable<Text>,
        next_attempt_at -> Nullable<BigInt>,
    }
}
