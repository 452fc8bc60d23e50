package examples_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGuideSnippets compiles the Go blocks of guides that are a few lines: those that are files are compiled, and executed, by
// TestGuides.
func TestGuideSnippets(t *testing.T) {
	around := map[string]string{
		"handlers": `import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
)

func snippet(ctx context.Context, in struct{ Goods []string }) context.Context {
	SNIPPET
	return ctx
}
`,
		"subscribers": "", // has none
		"testing":     "",
	}
	dir := t.TempDir()
	for guide, text := range around {
		for _, b := range readBlocks(t, filepath.Join("..", "docs", "guides", guide+".md")) {
			if b.language != "go" || b.file != "" {
				continue
			}
			if text == "" {
				t.Fatalf("%s.md has a Go block that is no file, which nothing compiles:\n%s", guide, b.text)
			}
			write(t, filepath.Join(dir, guide, "snippet.go"), "package snippet\n\n"+strings.ReplaceAll(text, "SNIPPET", b.text))
			vet := exec.CommandContext(t.Context(), "go", "vet", filepath.Join(dir, guide, "snippet.go"))
			vet.Dir = ".."
			if out, err := vet.CombinedOutput(); err != nil {
				t.Errorf("%s.md:\n%s\n%v\n%s", guide, b.text, err, out)
			}
		}
	}
}
