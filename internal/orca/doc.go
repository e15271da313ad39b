// Package orca reads and writes load reports in the forms of ORCA, the Open Request
// Cost Aggregation that gRPC, Envoy and model servers speak in HTTP headers. It is pure.
//
// A server may say of itself, in a response header or trailer,
//
//	endpoint-load-metrics: TEXT cpu_utilization=0.7,named_metrics.in_flight=3
//	endpoint-load-metrics: JSON {"cpu_utilization":0.7,"named_metrics":{"in_flight":3}}
//	endpoint-load-metrics: BIN base64 of a serialized xds.data.orca.v3.OrcaLoadReport
//	endpoint-load-metrics-bin: base64 of the same
//
// Reports are read key by key: a malformed key is dropped and named in the error, and the others are used. Reports are written so that
// Envoy, the strictest known reader, accepts them completely.
//
// A metric's name is its key in the TEXT form: a field's name, or named_metrics.k,
// utilization.k or request_cost.k for an entry k of a map.
package orca

// Names of headers. Format goes in a request, to ask the server for a report.
const (
	Header       = "endpoint-load-metrics"
	HeaderBin    = "endpoint-load-metrics-bin"
	HeaderFormat = "endpoint-load-metrics-format"
)

const (
	namedMetrics = "named_metrics."
	utilization  = "utilization."
	requestCost  = "request_cost."
)

// maxValue is the longest header value that is read, in bytes: a report of the most
// metrics with the longest names and values, and as much again.
const maxValue = 1 << 15
