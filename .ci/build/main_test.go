package main

import "testing"

func TestOutPath(t *testing.T) {
	for dir, want := range map[string]string{
		"cmd/tasker":                  "tasker",
		"plugins/http":                "plugins/tasker-plugin-http",
		"examples/03-census":          "examples/tasker-plugin-census",
		"examples/no-number":          "examples/tasker-plugin-no-number",
		"examples/04-many/alert":      "examples/many/tasker-plugin-alert",
		"examples/04-many/alert/mail": "examples/many/tasker-plugin-alert-mail",
	} {
		if got := outPath(dir, true); got != want {
			t.Errorf("outPath(%q) of a plugin = %q, want %q", dir, got, want)
		}
	}
	if got, want := outPath("examples/02-orders/shop", false), "examples/orders-shop"; got != want {
		t.Errorf("outPath of a program = %q, want %q", got, want)
	}
}
