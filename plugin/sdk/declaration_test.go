package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

type wrongResults struct{ typed }

func (wrongResults) ProcessResults(context.Context, string) (string, error) { return "", nil }

type wrongRawResults struct{ raw }

func (wrongRawResults) ProcessResults(context.Context, number) (number, error) {
	return number{}, nil
}

func TestBrokenDeclarations(t *testing.T) {
	ok := sdk.Func(increment)
	var nilFunc func(context.Context, number) (number, error)
	var nilTyped *ptrTyped
	tests := map[string]struct {
		spoil func(*sdk.Plugin)
		want  []string
	}{
		"nothing at all": {func(p *sdk.Plugin) { *p = sdk.Plugin{} }, []string{
			`Name: "" is no plugin name; want [a-z][a-z0-9-]{0,31}`,
			`Version: "" is no semantic version; want one such as "1.0.0"`,
			`Handlers: there are none, and no Subscribers`,
		}},
		"names": {func(p *sdk.Plugin) { p.Name = "Mock"; p.Handlers["Do it"] = ok }, []string{
			`Name: "Mock" is no plugin name; want [a-z][a-z0-9-]{0,31}`,
			`Handlers["Do it"]: "Do it" is no handler name; want [a-z][a-z0-9_-]{0,31}`,
		}},
		"version":           {func(p *sdk.Plugin) { p.Version = "v1" }, []string{`Version: "v1" is no semantic version; want one such as "1.0.0"`}},
		"concurrency":       {func(p *sdk.Plugin) { p.MaxConcurrency = -1 }, []string{`MaxConcurrency: -1 is out of range; want 0 (the host decides) or more`}},
		"network":           {func(p *sdk.Plugin) { p.Permissions.Network = "lan" }, []string{`Permissions.Network: "lan" is unknown; want none, loopback or any`}},
		"config no pointer": {func(p *sdk.Plugin) { p.Config = number{} }, []string{`Config: is a sdk_test.number; want a pointer to a struct, which the configuration is decoded into`}},
		"config nil":        {func(p *sdk.Plugin) { p.Config = (*number)(nil) }, []string{`Config: is a *sdk_test.number; want a pointer to a struct, which the configuration is decoded into`}},
		"nil handler":       {func(p *sdk.Plugin) { p.Handlers["h"] = nil }, []string{`Handlers["h"]: the handler is nil`}},
		"nil function":      {func(p *sdk.Plugin) { p.Handlers["h"] = sdk.Func(nilFunc) }, []string{`Handlers["h"]: the function is nil`}},
		"nil typed":         {func(p *sdk.Plugin) { p.Handlers["h"] = sdk.Typed(nilTyped) }, []string{`Handlers["h"]: the handler is nil`}},
		"nil with options":  {func(p *sdk.Plugin) { p.Handlers["h"] = sdk.With(nil, sdk.Options{}) }, []string{`Handlers["h"]: the handler is nil`}},
		"options twice": {func(p *sdk.Plugin) { p.Handlers["h"] = sdk.With(sdk.Func(increment, sdk.Options{}), sdk.Options{}) }, []string{
			`Handlers["h"]: options are given more than once`,
		}},
		"results of another shape": {func(p *sdk.Plugin) {
			p.Handlers["a"], p.Handlers["b"] = sdk.Typed(wrongResults{}), wrongRawResults{}
		}, []string{
			`Handlers["a"]: sdk_test.wrongResults: ProcessResults is func(context.Context, string) (string, error); want func(context.Context, sdk_test.number) (R, error) with any R, or without R`,
			`Handlers["b"]: sdk_test.wrongRawResults has a method ProcessResults that would never be called: it must be ProcessResults(context.Context, any) (any, error)`,
		}},
		"handler versions": {func(p *sdk.Plugin) {
			p.Handlers = sdk.Handlers{
				"a@0": ok, "b@x": ok, "c@2": sdk.Func(increment, sdk.Options{Version: 3}), "d": ok, "d@1": ok,
			}
		}, []string{
			`Handlers["a@0"]: "0" is no version; want a number from 1`,
			`Handlers["b@x"]: "x" is no version; want a number from 1`,
			`Handlers["c@2"]: the name says version 2, the options say 3`,
			`Handlers["d@1"]: version 1 of d is declared twice`,
		}},
		"options": {func(p *sdk.Plugin) {
			for name, o := range map[string]sdk.Options{
				"a": {Version: -1}, "b": {Timeout: -1}, "c": {HeartbeatTimeout: -1}, "d": {MaxConcurrency: -1}, "e": {Idempotency: 9},
				"f": {Retry: sdk.Retry{Limit: -1}}, "g": {Retry: sdk.Retry{Backoff: "cubic"}}, "i": {Retry: sdk.Retry{Backoff: sdk.Listed}},
			} {
				p.Handlers[name] = sdk.Func(increment, o)
			}
		}, []string{
			`Handlers["a"]: option Version: -1 is out of range; want 0 or a number from 1`,
			`Handlers["b"]: option Timeout: -1ns is negative`,
			`Handlers["c"]: option HeartbeatTimeout: -1ns is negative`,
			`Handlers["d"]: option MaxConcurrency: -1 is out of range; want 0 (the plugin's limit) or more`,
			`Handlers["e"]: option Idempotency: 9 is unknown`,
			`Handlers["f"]: option Retry: it has a field that is out of range`,
			`Handlers["g"]: option Retry.Backoff: "cubic" is unknown; want exponential, linear, constant or list`,
			`Handlers["i"]: option Retry: Backoff and List do not go together: list needs a List, and nothing else has one`,
		}},
		"types without a schema": {func(p *sdk.Plugin) {
			p.Handlers["h"] = sdk.Func(func(context.Context, struct{ C chan int }) (int, error) { return 0, nil })
		}, []string{`Handlers["h"]: no JSON Schema can be derived from struct { C chan int }: unsupported type chan int`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := sdk.Plugin{Name: "test", Version: "1.0.0", Handlers: sdk.Handlers{"h": ok}}
			tt.spoil(&p)
			_, err := sdktest.TryStart(t, p)
			got, _ := errors.AsType[*sdk.DeclarationError](err)
			if got == nil {
				t.Fatalf("error %v, want a DeclarationError", err)
			}
			if diff := cmp.Diff(tt.want, got.Problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

type ptrTyped struct{}

func (*ptrTyped) Process(context.Context, number) (number, error) { return number{}, nil }

func TestManifest(t *testing.T) {
	p := sdktest.Start(t, sdk.Plugin{
		Name: "test", Version: "1.0.0-rc.1+x", Title: "T", Description: "D", Vendor: "V", Licence: "L", Homepage: "H",
		Config: &processConfig{}, MaxConcurrency: 7,
		Permissions: sdk.Permissions{FSRead: []string{"/r"}, FSWrite: []string{"/w"}, Network: sdk.NetworkAny, Env: []string{"E"}, Subprocess: true},
		Handlers: sdk.Handlers{
			"b":   raw{},
			"a@2": sdk.Func(increment),
			"a": sdk.Func(increment, sdk.Options{
				Description: "Increments.", Timeout: time.Second, HeartbeatTimeout: time.Minute, Idempotency: sdk.NotIdempotent,
				MaxConcurrency: 3, NoResults: true, ErrorCodes: []string{"e"}, Config: number{},
				Retry: sdk.Retry{Limit: 4, List: []time.Duration{time.Second}},
			}),
		},
	})
	m := p.Manifest()
	var names []string
	for _, h := range m.GetHandlers() {
		names = append(names, h.GetName()+"@"+string(rune('0'+h.GetVersion())))
	}
	if diff := cmp.Diff([]string{"a@1", "a@2", "b@1"}, names); diff != "" {
		t.Errorf("handlers (-want +got):\n%s", diff)
	}
	if got := m.GetHandlers()[2]; len(got.GetInputSchema())+len(got.GetOutputSchema())+len(got.GetConfigSchema()) > 0 {
		t.Errorf("a handler that takes anything has schemas: %v", got)
	}
	a := m.GetHandlers()[0]
	if a.GetMaxConcurrency() != 3 || a.GetTimeout().AsDuration() != time.Second || a.GetRetry().GetBackoff() != "list" || m.GetLimits().GetMaxConcurrency() != 7 {
		t.Errorf("manifest %v", m)
	}
	var input, config map[string]any
	for schema, into := range map[string]*map[string]any{string(a.GetInputSchema()): &input, string(a.GetConfigSchema()): &config} {
		if err := json.Unmarshal([]byte(schema), into); err != nil {
			t.Fatal(err)
		}
	}
	if _, closed := input["additionalProperties"]; closed || config["additionalProperties"] != false {
		t.Errorf("an input may have further keys, a config may not:\n%v\n%v", input, config)
	}
}

func TestHandlerVersions(t *testing.T) {
	version := func(n int) sdk.Handler {
		return sdk.Func(func(ctx context.Context, _ struct{}) (int, error) { return n*10 + sdk.Attempt(ctx).HandlerVersion, nil })
	}
	p := sdktest.Start(t, sdk.Plugin{Name: "test", Version: "1.0.0", Handlers: sdk.Handlers{"h": version(1), "h@3": version(3)}})
	for asked, want := range map[int]string{0: "30", 1: "11", 3: "33"} {
		if got := string(p.Run(t, sdktest.Attempt{Handler: "h", Version: asked}).Output); got != want {
			t.Errorf("version %d: output %s, want %s", asked, got, want)
		}
	}
	for _, tt := range []struct {
		handler string
		version int
		want    string
	}{
		{"h", 2, `plugin test 1.0.0 has no version 2 of handler "h"; it has h@1, h@3`},
		{"x", 0, `plugin test 1.0.0 has no handler "x"; it has h@1, h@3`},
	} {
		got := p.Run(t, sdktest.Attempt{Handler: tt.handler, Version: tt.version}).Failure
		if got == nil || got.Verdict != sdk.Final || got.Code != sdk.CodeUnknownHandler || got.Message != tt.want {
			t.Errorf("failure %v, want %s", got, tt.want)
		}
	}
}
