// Package telemetry shows a host to those who watch it: the resource that everything it
// sends comes from, its metrics and where they go.
//
// Nothing on the path of a step knows OpenTelemetry. The parts of the host keep plain
// counters and [Histogram]s; what reads them is asked at a scrape or a push only. With
// neither an endpoint nor an exporter configured there is nothing to ask, and the
// histograms are nil, which record nothing.
package telemetry
