package main

import "testing"

func TestOutPath(t *testing.T) {
	for dir, want := range map[string]string{
		"cmd/tasker":                "tasker",
		"plugins/http":              "plugins/tasker-plugin-http",
		"examples/03-census":        "examples/tasker-plugin-census",
		"examples/02-orders/plugin": "examples/tasker-plugin-orders",
		"examples/02-orders/shop":   "examples/orders-shop",
		"examples/no-number":        "examples/tasker-plugin-no-number",
	} {
		if got := outPath(dir); got != want {
			t.Errorf("outPath(%q) = %q, want %q", dir, got, want)
		}
	}
}
