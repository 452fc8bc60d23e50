package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
	"github.com/tasker-engine/tasker/plugins/internal/readmetest"
)

// TestReadme runs the steps that the README shows, and looks for every key of the schemas in it.
func TestReadme(t *testing.T) {
	readme := readmetest.Read(t)
	api := sdktest.HTTP(t)
	api.On("POST", "/token").Reply(200, sdktest.JSON(object{"access_token": "t", "expires_in": 60}))
	api.On("POST", "/shop/orders/o-1/charges").Reply(201, sdktest.Header("Location", "/charges/1"), sdktest.JSON(object{"id": "ch_1"}))
	put := api.On("PUT", "/parcels/parcels/o-1").Reply(204)
	api.On("GET", "/parcels/parcels/o-1/events?size=100").Reply(200, sdktest.JSON(object{"events": list{"sent"}, "next": "?page=2"}))
	api.On("GET", "/parcels/parcels/o-1/events?page=2").Reply(200, sdktest.JSON(object{"events": list{"there"}}))
	config := strings.NewReplacer("https://shop.example.com/v1", api.URL+"/shop", "https://parcels.example.com", api.URL+"/parcels", "https://login.example.com", api.URL).
		Replace(string(readme.Plugins["http"].Config))
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: json.RawMessage(config)})
	results := object{}
	for _, s := range readme.Steps {
		got := p.Run(t, sdktest.Attempt{
			Handler: "request", Config: s.Config, Results: results, Input: object{"order": "o-1", "total_cents": 990, "address": "12 Analytical Row"},
		})
		if got.Failure != nil {
			t.Fatalf("step %s: %v", s.Name, got.Failure)
		}
		results[s.Name] = got.Output
	}
	if got, want := string(one(t, put).Body), `{"charge":"ch_1","to":"12 Analytical Row"}`; got != want {
		t.Errorf("shipped %s, want %s", got, want)
	}
	if got, ok := results["history"].(json.RawMessage); !ok || string(got) != `["sent","there"]` {
		t.Errorf("history %s", got)
	}
	for _, schema := range [][]byte{p.Manifest().GetConfigSchema(), p.Manifest().GetHandlers()[0].GetConfigSchema()} {
		names := readmetest.Properties(t, schema)
		if len(names) < 10 {
			t.Errorf("%d keys in %s", len(names), schema)
		}
		readme.Tells(t, names, "KEY`", "`KEY.", "config.KEY")
	}
}
