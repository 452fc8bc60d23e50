package supervisor

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/secrets"
)

func TestSecretsAreNotLogged(t *testing.T) {
	dir := t.TempDir()
	log := newPluginLog(dir, "p", func(err error) { t.Error(err) })
	o := newOutput("p#1", log)
	o.redact(secrets.NewRedactor([]string{"hunter2"}))
	o.line(sourceStderr, []byte(`{"@message": "the password hunter2", "@level": "info", "key": "hunter2"}`), false)
	o.line(sourceStdout, []byte("panic: hunter2"), false)
	o.attempt(logkeys.About{}, "info", "again hunter2", json.RawMessage(`{"key": "hunter2"}`))
	o.close()
	log.close()
	lines, err := ReadLog(dir, "p", 10)
	if err != nil || len(lines) != 3 {
		t.Fatalf("the log has %d lines, %v; want 3", len(lines), err)
	}
	kept, err := json.Marshal(lines)
	if err != nil {
		t.Fatal(err)
	}
	stderr, _ := o.report()
	all := string(kept) + strings.Join(o.said(), "") + strings.Join(stderr, "")
	if strings.Contains(all, "hunter2") || !strings.Contains(all, "the password ***") {
		t.Errorf("kept is %s, want it without the secret", all)
	}
}
