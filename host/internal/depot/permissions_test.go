package depot

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
)

// TestAsks: what a plugin asks for is said in words.
func TestAsks(t *testing.T) {
	t.Parallel()
	got := Asks(supervisor.Permissions{
		FSRead:  []string{"/etc/ssl", "*", "config:/services/*/tls/ca_file", "env:SSL_CERT_FILE", "C:/keys"},
		FSWrite: []string{"config-dir:/auth/creds~1file"}, Network: "any", Env: []string{"LANG"}, Subprocess: true,
	})
	want := []string{
		"network any", "read /etc/ssl", "read every file (*)", "read what services.*.tls.ca_file of its configuration names",
		"read what the variable SSL_CERT_FILE names", "read C:/keys", "write the directory of what auth.creds/file of its configuration names",
		"env LANG", "subprocess",
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("got -, want +:\n%s", diff)
	}
}

// TestPackRefusesAPointerThatIsNotInTheConfiguration: such a permission would never grant anything.
func TestPackRefusesAPointerThatIsNotInTheConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir+"/tasker-plugin-greeter", "#!/bin/sh\n")
	_, err := Pack(t.Context(), &PackRequest{Dir: dir, Out: t.TempDir(), Describe: func(context.Context, string) (*supervisor.Manifest, error) {
		return &supervisor.Manifest{
			Name: "greeter", Version: "1.0.0", Permissions: supervisor.Permissions{FSRead: []string{"config:/cafile"}},
			ConfigSchema: []byte(`{"type": "object", "properties": {"ca_file": {"type": "string"}}}`),
		}, nil
	}})
	if want := `permission "config:/cafile": config_schema has no "cafile"; did you mean "ca_file"?`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
