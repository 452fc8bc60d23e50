package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// helperArg makes the test binary the command that the tests run.
const helperArg = "--exec-helper"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == helperArg {
		os.Exit(helper(os.Args[2], os.Args[3:])) //nolint:forbidigo // this is a main
	}
	goleak.VerifyTestMain(m)
}

// helper is what the command does.
func helper(what string, args []string) int {
	switch what {
	case "print":
		_, _ = io.WriteString(os.Stdout, strings.Join(args, " "))
	case "cat":
		_, _ = io.Copy(os.Stdout, os.Stdin)
	case "env":
		env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
			return strings.HasPrefix(kv, "PATH=") || strings.HasPrefix(kv, goraceKey+"=") || strings.HasPrefix(kv, "SYSTEMROOT=") || strings.HasPrefix(kv, "PWD=")
		})
		slices.Sort(env)
		_, _ = io.WriteString(os.Stdout, strings.Join(env, "\n"))
	case "dir":
		dir, _ := os.Getwd()
		_, _ = io.WriteString(os.Stdout, dir)
	case "exit":
		_, _ = fmt.Fprintf(os.Stderr, "first\nending with %s\n", args[0])
		code, _ := strconv.Atoi(args[0])
		return code
	case "flood":
		for {
			if _, err := os.Stdout.Write(make([]byte, 64<<10)); err != nil {
				return 1
			}
		}
	case "hang":
		if len(args) > 0 { // does not end when it is asked to
			signal.Ignore(syscall.SIGTERM)
		}
		fmt.Fprintln(os.Stderr, os.Getpid())
		select {}
	case "leave": // a child behind that holds the outputs
		child := exec.Command(os.Args[0], helperArg, "hang", "stubborn")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			return 1
		}
		if len(args) > 0 {
			_ = child.Wait()
		}
	}
	return 0
}

type values = map[string]any

// goraceKey is the environment variable with the options of the race detector. `make test` sets it, so that the helper
// does not sleep for a second before it exits.
const goraceKey = "GORACE"

// hurried lets goraceKey through to the helper.
func hurried(config values) values {
	env, _ := config["env"].([]string)
	config["env"] = append(env, goraceKey)
	return config
}

// command is the argument list of the helper.
func command(args ...string) []string {
	self, _ := os.Executable()
	return append([]string{self, helperArg}, args...)
}

func TestRun(t *testing.T) {
	t.Setenv("EXEC_LET_THROUGH", "yes")
	t.Setenv("EXEC_KEPT_BACK", "secret")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := sdktest.Start(t, plugin())
	attempt := "TASKER_ATTEMPT=1\nTASKER_CORRELATION_ID=c\nTASKER_IDEMPOTENCY_KEY=k\nTASKER_STEP=s\nTASKER_TASK_ID=t"
	tests := map[string]struct {
		config values
		input  any
		output any
	}{
		"text":           {config: values{"command": command("print", "a", "<b>")}, output: values{"exit_code": 0.0, "stdout": "a <b>"}},
		"no shell":       {config: values{"command": command("print", "$HOME", "*")}, output: values{"exit_code": 0.0, "stdout": "$HOME *"}},
		"json":           {config: values{"command": command("print", `{"n": 9007199254740993}`), "stdout": "json"}, output: json.RawMessage(`{"n":9007199254740993}`)},
		"discard":        {config: values{"command": command("print", "x"), "stdout": "discard", "max_output": 1}, output: values{"exit_code": 0.0}},
		"input":          {config: values{"command": command("cat"), "stdout": "json"}, input: values{"a": 1.0}, output: values{"a": 1.0}},
		"no input":       {config: values{"command": command("cat"), "stdin": "none"}, input: values{"a": 1}, output: values{"exit_code": 0.0}},
		"input not read": {config: values{"command": command("print", "x")}, input: strings.Repeat("x", 1<<20), output: values{"exit_code": 0.0, "stdout": "x"}},
		"environment": {
			config: values{"command": command("env"), "env": []string{"EXEC_LET_THROUGH", "EXEC_NOT_THERE"}, "set_env": values{"SET": "1"}},
			output: values{"exit_code": 0.0, "stdout": "EXEC_LET_THROUGH=yes\nSET=1\n" + attempt},
		},
		"directory":       {config: values{"command": command("dir"), "dir": dir}, output: values{"exit_code": 0.0, "stdout": dir}},
		"exit code is ok": {config: values{"command": command("exit", "3"), "exit_codes": values{"success": []int{3}}}, output: values{"exit_code": 3.0}},
		"exactly at the limit": {
			config: values{"command": command("print", "1234"), "max_output": 4},
			output: values{"exit_code": 0.0, "stdout": "1234"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := p.Run(t, sdktest.Attempt{Handler: "run", Config: hurried(tt.config), Input: tt.input, Task: "t", Step: "s", IdempotencyKey: "k", CorrelationID: "c"})
			if raw, ok := tt.output.(json.RawMessage); ok {
				if string(got.Output) != string(raw) {
					t.Errorf("output %s (failure %v), want %s", got.Output, got.Failure, raw)
				}
				return
			}
			var out any
			got.Decode(t, &out)
			if diff := cmp.Diff(tt.output, out); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

func TestShell(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the shell is another one")
	}
	p := sdktest.Start(t, plugin())
	got := p.Run(t, sdktest.Attempt{Handler: "run", Config: values{"command": []string{`printf '%s' "$A" | tr a-z A-Z`}, "shell": true, "set_env": values{"A": "abc"}}})
	var out result
	got.Decode(t, &out)
	if out.Stdout != "ABC" {
		t.Errorf("stdout %q, want ABC", out.Stdout)
	}
}

func TestFailures(t *testing.T) {
	p := sdktest.Start(t, plugin())
	exited := func(code int) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"exit_code":%d,"stderr":"first\nending with %d\n"}`, code, code))
	}
	tests := map[string]struct {
		config values
		want   sdktest.Failure
	}{
		"exit code": {
			values{"command": command("exit", "3")},
			sdktest.Failure{Verdict: sdk.Retryable, Code: "exit_3", Message: "the command ended with exit code 3: ending with 3", Source: sdk.FromDownstream, Details: exited(3)},
		},
		"listed as permanent": {
			values{"command": command("exit", "2"), "exit_codes": values{"permanent": []int{1, 2}}},
			sdktest.Failure{Verdict: sdk.Final, Code: "exit_2", Message: "the command ended with exit code 2: ending with 2", Source: sdk.FromDownstream, Details: exited(2)},
		},
		"permanent by default": {
			values{"command": command("exit", "3"), "exit_codes": values{"default": "permanent"}},
			sdktest.Failure{Verdict: sdk.Final, Code: "exit_3", Message: "the command ended with exit code 3: ending with 3", Source: sdk.FromDownstream, Details: exited(3)},
		},
		"listed as retryable, after a while": {
			values{"command": command("exit", "75"), "exit_codes": values{"default": "permanent", "retryable": []int{75}, "retry_after": "30s"}},
			sdktest.Failure{Verdict: sdk.Retryable, Code: "exit_75", Message: "the command ended with exit code 75: ending with 75", Source: sdk.FromDownstream, Details: exited(75), RetryAfter: 30 * time.Second},
		},
		"0 listed as permanent": {
			values{"command": command("exit", "0"), "exit_codes": values{"permanent": []int{0}}},
			sdktest.Failure{Verdict: sdk.Final, Code: "exit_0", Message: "the command ended with exit code 0: ending with 0", Source: sdk.FromDownstream, Details: exited(0)},
		},
		"no such command": {
			values{"command": []string{"no-such-command"}},
			sdktest.Failure{Verdict: sdk.Final, Code: codeNotFound, Message: `run no-such-command: exec: "no-such-command": executable file not found in $PATH`},
		},
		"no such directory": {
			values{"command": command("print"), "dir": "/no/such/directory"},
			sdktest.Failure{Verdict: sdk.Final, Code: codeNotFound, Message: "dir: stat /no/such/directory: no such file or directory"},
		},
		"no JSON": {
			values{"command": command("print", "oops"), "stdout": "json"},
			sdktest.Failure{Verdict: sdk.Final, Code: codeNoJSON, Message: `stdout is json, but the command printed "oops"`},
		},
		"no output for JSON": {
			values{"command": command("print"), "stdout": "json"},
			sdktest.Failure{Verdict: sdk.Final, Code: codeNoJSON, Message: "stdout is json, but the command printed nothing"},
		},
		"too much output": {
			values{"command": command("flood"), "max_output": 100000},
			sdktest.Failure{Verdict: sdk.Final, Code: codeOutput, Message: "the command printed more than 100000 bytes: print less, raise max_output, or write to a file and print its name"},
		},
		"shell with arguments": {
			values{"command": []string{"echo", "x"}, "shell": true},
			sdktest.Failure{Verdict: sdk.Final, Code: sdk.CodeInvalidConfig, Message: "/command: with shell: true it is one element, the line that the shell runs"},
		},
		"empty program": {
			values{"command": []string{""}},
			sdktest.Failure{Verdict: sdk.Final, Code: sdk.CodeInvalidConfig, Message: "/command/0: there is no name of a program"},
		},
		"null for a command": {
			values{"command": nil},
			sdktest.Failure{Verdict: sdk.Final, Code: sdk.CodeInvalidConfig, Message: "/command/0: there is no name of a program"},
		},
		"ambiguous exit code": {
			values{"command": command("print"), "exit_codes": values{"success": []int{1}, "permanent": []int{1}}},
			sdktest.Failure{Verdict: sdk.Final, Code: sdk.CodeInvalidConfig, Message: "/exit_codes: 1 is in success and in permanent"},
		},
		"no command": {
			values{"command": []string{}},
			sdktest.Failure{Verdict: sdk.Final, Code: sdk.CodeInvalidConfig, Message: "the step's config does not fit handler run: /command: minItems: got 0, want 1"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && tt.want.Code == codeNotFound {
				t.Skip("the message is another one")
			}
			got := p.Run(t, sdktest.Attempt{Handler: "run", Config: hurried(tt.config)}).Failure
			if got == nil {
				t.Fatal("it succeeded")
			}
			got.Class = ""
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("failure (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStderrIsLogged(t *testing.T) {
	p := sdktest.Start(t, plugin())
	got := p.Run(t, sdktest.Attempt{Handler: "run", Config: values{"command": command("exit", "0")}})
	want := []sdktest.LogLine{
		{Level: "info", Message: "first", Fields: json.RawMessage(`{"stream":"stderr"}`)},
		{Level: "info", Message: "ending with 0", Fields: json.RawMessage(`{"stream":"stderr"}`)},
	}
	if diff := cmp.Diff(want, got.Logs); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
}

// TestNothingIsLeft ends commands in every way, and looks for what they left.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		config  values
		cancel  string
		verdict sdk.Verdict // Undecided: success
		code    string
	}{
		"cancelled":                  {config: values{"command": command("hang")}, cancel: "cancel_requested", verdict: sdk.Cancelled, code: "cancel_requested"},
		"cancelled, stubborn":        {config: values{"command": command("hang", "stubborn"), "kill_grace": "1ms"}, cancel: "cancel_requested", verdict: sdk.Cancelled, code: "cancel_requested"},
		"cancelled, with a child":    {config: values{"command": command("leave", "wait"), "kill_grace": "1ms"}, cancel: "cancel_requested", verdict: sdk.Cancelled, code: "cancel_requested"},
		"out of time":                {config: values{"command": command("hang")}, cancel: sdk.ReasonTimeout, verdict: sdk.Retryable, code: sdk.CodeTimeout},
		"ended, with a child behind": {config: values{"command": command("leave"), "kill_grace": "1ms"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := sdktest.Start(t, plugin())
			r := p.Begin(t, sdktest.Attempt{Handler: "run", Config: hurried(tt.config)})
			pid, err := strconv.Atoi(r.Log(t).Message) // it runs
			if err != nil {
				t.Fatal(err)
			}
			if tt.cancel != "" {
				r.Cancel(t, tt.cancel)
			}
			got := r.Wait(t)
			switch f := got.Failure; {
			case tt.verdict == sdk.Undecided && got.Output == nil:
				t.Errorf("failure %v, want success", f)
			case tt.verdict != sdk.Undecided && (f == nil || f.Verdict != tt.verdict || f.Code != tt.code):
				t.Errorf("failure %v, want %s %s", f, tt.verdict, tt.code)
			}
			awaitGone(t, pid)
		})
	}
}

// awaitGone waits until a process that was killed is gone.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.After(30 * time.Second)
	for running(pid) {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("process %d is still there", pid)
		}
	}
}

// running reports whether a process runs; one that has ended and waits for its parent does not.
func running(pid int) bool {
	if runtime.GOOS == "windows" {
		return false // what taskkill has ended is gone
	}
	proc, err := os.FindProcess(pid)
	if err != nil || proc.Signal(syscall.Signal(0)) != nil {
		return false
	}
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return runtime.GOOS != "linux"
	}
	defer func() { _ = status.Close() }()
	for s := bufio.NewScanner(status); s.Scan(); {
		if strings.HasPrefix(s.Text(), "State:") {
			return !strings.Contains(s.Text(), "Z")
		}
	}
	return true
}

// FuzzLines hands on everything but line ends, however it is written, in lines that are not too long.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\nc"), 2)
	f.Add(make([]byte, 3*maxLine), 5000)
	f.Fuzz(func(t *testing.T, text []byte, part int) {
		if part < 1 {
			return
		}
		var got strings.Builder
		l := &lines{line: func(s string) {
			if s == "" || len(s) > maxLine || strings.Contains(s, "\n") {
				t.Errorf("line of %d bytes: %.40q", len(s), s)
			}
			got.WriteString(s)
		}}
		for rest := range slices.Chunk(text, part) {
			_, _ = l.Write(rest)
		}
		l.flush()
		bare := strings.NewReplacer("\n", "", "\r", "")
		if want := bare.Replace(string(text)); bare.Replace(got.String()) != want {
			t.Errorf("lines of %q lost something: %q", text, got.String())
		}
		if len(l.tail.b) > maxTail || !bytes.HasSuffix(text, l.tail.b) {
			t.Errorf("tail of %d bytes is not the end", len(l.tail.b))
		}
	})
}

func TestLines(t *testing.T) {
	tests := map[string]struct {
		writes []string
		want   []string
		tail   string
	}{
		"lines":          {[]string{"a\nb\r\n"}, []string{"a", "b"}, "a\nb\r\n"},
		"parts":          {[]string{"a", "b\nc", "", "d"}, []string{"ab", "cd"}, "ab\ncd"},
		"empty lines":    {[]string{"\n\na\n\n"}, []string{"a"}, "\n\na\n\n"},
		"line too long":  {[]string{strings.Repeat("x", maxLine+1) + "\n"}, []string{strings.Repeat("x", maxLine), "x"}, ""},
		"tail is a line": {[]string{strings.Repeat("x", maxTail), "\nend\n"}, []string{strings.Repeat("x", maxTail), "end"}, "end\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			l := &lines{line: func(s string) { got = append(got, s) }}
			for _, w := range tt.writes {
				if n, err := l.Write([]byte(w)); n != len(w) || err != nil {
					t.Errorf("wrote %d, %v", n, err)
				}
			}
			l.flush()
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
			if tt.tail != "" && l.tail.String() != tt.tail {
				t.Errorf("tail %q, want %q", l.tail.String(), tt.tail)
			}
		})
	}
}
