package main

import (
	"os"
	"strings"
	"testing"
)

func TestGreet(t *testing.T) {
	got, err := greet(t.Context(), guest{Name: "Ada"})
	if want := (greeting{Text: "Hello, Ada!"}); err != nil || got != want {
		t.Errorf("greet = %+v, %v; want %+v", got, err, want)
	}
}

// TestSmall keeps the promise that the smallest plugin is at most 15 lines after its imports.
func TestSmall(t *testing.T) {
	src, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(src), "\n)\n")
	if n := strings.Count(strings.TrimSpace(code), "\n") + 1; n > 15 {
		t.Errorf("main.go has %d lines after its imports, want at most 15", n)
	}
}
