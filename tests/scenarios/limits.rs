//! Equality and maximum length of keys are the same in every store. By default, a MySQL collation ignores letter case
//! and trailing spaces.

scenario! {
    /// SKUs that differ by case, accent or Unicode composition; up to 64 characters of four bytes each.
    async fn similar_skus_are_distinct(shop) {
        let c = &shop.client;
        let long = "\u{1d4d0}".repeat(64);
        let all = ["ab", "AB", "Ab", "\u{e1}b", "a\u{301}b", "a b", "stra\u{df}e", "strasse", &long];
        for (n, sku) in (1..).zip(all) {
            c.stocked(sku, "1", n * 10).await;
        }
        c.order(&[("AB", 3), (&long, 1)]).await.expect(201);
        for (n, sku) in (1..).zip(all) {
            let taken = if sku == "AB" { 3 } else { i64::from(sku == long) };
            assert_eq!(c.quantity(sku).await, n * 10 - taken, "{sku}");
        }
        // surrounding spaces are trimmed
        c.order(&[(" ab ", 1)]).await.expect(201);
        assert_eq!(c.quantity("ab").await, 9);
        let reply = c.order(&[("ab", 1), (&"\u{1d4d0}".repeat(65), 1)]).await.expect(400).json();
        assert_eq!(reply["errors"][0]["field"], "orderLineItems[1].skuCode");
    }
}

scenario! {
    /// Keys that differ by case or in the last of 255 characters.
    async fn similar_idempotency_keys_are_distinct(shop) {
        let c = &shop.client;
        c.stocked("k", "1", 100).await;
        let long = "k".repeat(254);
        let mut numbers = std::collections::BTreeSet::new();
        for key in ["key", "KEY", "Key", "k ey", &format!("{long}a"), &format!("{long}b")] {
            let first = c.order_with_key(key, &[("k", 1)]).await.expect(201);
            assert_eq!(c.order_with_key(key, &[("k", 1)]).await.expect(201).text, first.text, "{key}");
            numbers.insert(first.json()["orderNumber"].to_string());
        }
        assert_eq!(numbers.len(), 6);
        assert_eq!(c.quantity("k").await, 94);
    }
}
