// Package pluginv1 is the wire between the host and its plugins: the services a plugin process serves,
// and what both sides agree on before the first call. The proto files say what each field means.
package pluginv1
