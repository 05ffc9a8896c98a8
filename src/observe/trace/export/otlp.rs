//! OTLP over HTTP with protobuf (OTLP 1.x, `POST /v1/traces`).
//!
//! The messages are those of `opentelemetry-proto`. The client, its limits and its retries are the same as for Zipkin.

use crate::kernel::build;
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::Message;
use std::sync::Arc;

pub(super) const PATH: &str = "/v1/traces";
pub(super) const CONTENT_TYPE: &str = "application/x-protobuf";

/// Encodes batches of spans of `service`; `instance` distinguishes its processes.
pub(super) fn encode(service: &str, instance: &str) -> impl Fn(&[Arc<SpanData>]) -> Result<Vec<u8>, serde_json::Error> + Send + use<> {
    let attributes = [
        KeyValue::new("service.name", service.to_string()),
        KeyValue::new("service.version", build::VERSION),
        KeyValue::new("service.instance.id", instance.to_string()),
    ];
    let resource: ResourceAttributesWithSchema = (&Resource::builder_empty().with_attributes(attributes).build()).into();
    move |batch| {
        let spans = batch.iter().map(|span| SpanData::clone(span)).collect();
        let resource_spans = group_spans_by_resource_and_scope(spans, &resource);
        Ok(ExportTraceServiceRequest { resource_spans }.encode_to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::trace::export::tests::span;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;

    #[test]
    fn encoded_batch_has_service_ids_parents_and_attributes() {
        let sent = encode("order-service", "one")(&[span(7, None, "POST /api/v1/orders"), span(8, Some(7), "INSERT orders")]).unwrap();
        let sent = ExportTraceServiceRequest::decode(sent.as_slice()).unwrap();
        let [group] = sent.resource_spans.as_slice() else { panic!("{sent:?}") };
        let text = |value: &Option<opentelemetry_proto::tonic::common::v1::AnyValue>| match value.as_ref().unwrap().value.as_ref().unwrap()
        {
            Value::StringValue(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        let mut resource: Vec<_> =
            group.resource.as_ref().unwrap().attributes.iter().map(|pair| (pair.key.as_str(), text(&pair.value))).collect();
        resource.sort();
        assert_eq!(
            resource,
            [
                ("service.instance.id", "one".to_string()),
                ("service.name", "order-service".to_string()),
                ("service.version", build::VERSION.to_string()),
            ]
        );
        let spans = &group.scope_spans[0].spans;
        assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["POST /api/v1/orders", "INSERT orders"]);
        assert_eq!((spans[0].parent_span_id.len(), spans[1].parent_span_id.as_slice()), (0, spans[0].span_id.as_slice()));
        assert_eq!(spans[0].trace_id, spans[1].trace_id);
        assert_eq!(text(&spans[0].attributes[0].value), "order");
    }
}
