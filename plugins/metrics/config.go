package main

import (
	"cmp"
	"fmt"
	"net"
)

// config is the plugin's configuration.
type config struct {
	Listen string `json:"listen,omitempty" jsonschema_description:"The address of the HTTP server, HOST:PORT. Default 127.0.0.1:9465: only this machine can ask."`
	Limits limits `json:"limits,omitzero"  jsonschema_description:"How many series there may be."`
}

// limits bound how many values a label has. What comes once a limit is reached is counted under the value "_other".
type limits struct {
	Templates int `json:"templates,omitempty" jsonschema:"minimum=1" jsonschema_description:"How many templates are told apart. Default 200."`
	Steps     int `json:"steps,omitempty"     jsonschema:"minimum=1" jsonschema_description:"How many steps, of all templates together, are told apart. Default 1000."`
	Names     int `json:"names,omitempty"     jsonschema:"minimum=1" jsonschema_description:"How many custom events, plugins and subscriptions are told apart, of each kind. Default 200."`
}

// The defaults of the configuration.
const (
	defaultListen    = "127.0.0.1:9465"
	defaultTemplates = 200
	defaultSteps     = 1000
	defaultNames     = 200
)

func (c config) withDefaults() config {
	c.Limits.Templates = cmp.Or(c.Limits.Templates, defaultTemplates)
	c.Limits.Steps = cmp.Or(c.Limits.Steps, defaultSteps)
	c.Limits.Names = cmp.Or(c.Limits.Names, defaultNames)
	return c
}

// address returns where to listen, and whether somebody chose it.
func (c config) address() (address string, chosen bool) {
	return cmp.Or(c.Listen, defaultListen), c.Listen != ""
}

// validate refuses what the schema cannot.
func (c config) validate() error {
	address, _ := c.address()
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("/listen: want HOST:PORT, such as 127.0.0.1:9465: %w", err)
	}
	return nil
}
