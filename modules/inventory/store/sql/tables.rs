//! Tables of inventory's SQL store.

diesel::table! {
    stock (id) {
        id -> BigInt,
        sku_code -> Text,
        quantity -> BigInt,
        held -> BigInt,
        sold -> BigInt,
        received -> BigInt,
        removed -> Bool,
    }
}
diesel::table! {
    reservations (order_number) {
        order_number -> Text,
        state -> Text,
        lines -> Text,
        expires_at -> BigInt,
    }
}
