package host_test

import (
	"fmt"
	"strings"
)

// graph writes a template with a line per step: "name <- dependencies | more", where more is
// fN for a step whose first N attempts fail, or keys of the step in YAML's flow form.
// Steps take mock/echo unless they say otherwise, and retry after 20 ms.
func graph(lines ...string) string {
	return graphWith("", lines...)
}

// graphWith is graph with further keys of the template.
func graphWith(keys string, lines ...string) string {
	var b strings.Builder
	b.WriteString("name: shape\nversion: 1.0.0\n" + keys)
	if !strings.Contains(keys, "defaults:") {
		b.WriteString("defaults: {retry: {base: 20ms, factor: 1}}\n")
	}
	b.WriteString("steps:\n")
	for _, line := range lines {
		head, more, _ := strings.Cut(line, "|")
		name, deps, _ := strings.Cut(head, "<-")
		more = strings.TrimSpace(more)
		var n int
		switch _, err := fmt.Sscanf(more, "f%d", &n); {
		case err == nil:
			more = fmt.Sprintf("handler: mock/flaky, config: {times: %d}%s", n, strings.TrimPrefix(more, fmt.Sprintf("f%d", n)))
		case !strings.Contains(more, "handler:"):
			more = strings.TrimSuffix("handler: mock/echo, "+more, ", ")
		}
		fmt.Fprintf(&b, "- {name: %s, depends_on: [%s], %s}\n", strings.TrimSpace(name), strings.TrimSpace(deps), more)
	}
	return b.String()
}

// The shapes of the cases that every release passes.
func linear6(c string) string {
	return graph("a", "b <- a", "c <- b | "+c, "d <- c", "e <- d", "f <- e")
}

func diamond7(p1 string) string {
	return graph("start", "p1 <- start | "+p1, "v1 <- p1", "p2 <- start | f1", "v2 <- p2", "merge <- v1, v2", "end <- merge")
}

func pmerge7() string {
	return graph("user", "order | f1", "inventory | f1", "pricing", "process_user <- user", "process_order <- order",
		"merge <- process_user, process_order, inventory, pricing | f1")
}

func tree8() string {
	return graph("root", "a <- root", "b <- root | f1", "a1 <- a", "a2 <- a | f1", "b1 <- b", "b2 <- b | f1",
		"aggregate <- a1, a2, b1, b2")
}

func mixed9(optional string) string {
	return graph("auth", "permissions <- auth | f1", "config", "environment <- config | f1", "begin <- permissions, environment",
		"critical <- begin | f2", "optional <- begin | "+optional, "cleanup <- environment", "finalize <- critical, cleanup")
}

const naps = "handler: mock/sleep, config: {for: 200ms}"

func fork3() string {
	return graph("one | "+naps, "two | "+naps, "three <- one, two | "+naps)
}
