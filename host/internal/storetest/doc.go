// Package storetest is what every store owes the rest of the host, as a suite of
// tests: [Run] runs it over an [Opener]. [Flow] makes the write sets that an engine
// would make, for the suite and for the tests and benchmarks of the stores themselves.
package storetest
