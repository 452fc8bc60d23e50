package sdk

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

const (
	pluginNames  = `[a-z][a-z0-9-]{0,31}`
	handlerNames = `[a-z][a-z0-9_-]{0,31}`
	versions     = `(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?`
)

// DeclarationError lists what is wrong with a [Plugin] value, each with its place.
type DeclarationError struct {
	// Plugin is the name that the plugin gives itself.
	Plugin string
	// Problems are "place: what is wrong", in a stable order.
	Problems []string
}

// Error implements error: one line per problem.
func (e *DeclarationError) Error() string {
	return fmt.Sprintf("plugin %q is declared wrongly:\n  %s", e.Plugin, strings.Join(e.Problems, "\n  "))
}

// spec is one declared handler.
type spec struct {
	name          string
	version       int
	bound         *bound
	input, config *schema
	output        *schema
}

// acceptInput returns the input as the handler shall see it.
func (s *spec) acceptInput(input []byte) ([]byte, error) {
	input, bad := s.input.accept(input)
	if len(bad) > 0 {
		return nil, Permanent(WithCode(errors.New("the input does not fit handler "+s.name+": "+problems(bad)), CodeInvalidInput))
	}
	return input, nil
}

// acceptConfig refuses a config that does not fit.
func (s *spec) acceptConfig(config []byte) error {
	if _, bad := s.config.accept(config); len(bad) > 0 {
		return Permanent(WithCode(errors.New("the step's config does not fit handler "+s.name+": "+problems(bad)), CodeInvalidConfig))
	}
	return nil
}

// declaration is a plugin whose value was found sound.
type declaration struct {
	plugin   Plugin
	config   *schema         // nil: takes none
	specs    []*spec         // by name, then version
	subs     []*subscription // by name
	events   map[reflect.Type]*customEvent
	manifest *pluginv1.Manifest
}

// declare checks a plugin and builds its manifest. The error is a *DeclarationError.
func declare(p Plugin) (*declaration, error) {
	d := &declaration{plugin: p}
	var bad []string
	report := func(place, format string, args ...any) {
		bad = append(bad, place+": "+fmt.Sprintf(format, args...))
	}
	if !matches(pluginNames, p.Name) {
		report("Name", "%q is no plugin name; want %s", p.Name, pluginNames)
	}
	if !matches(versions, p.Version) {
		report("Version", `%q is no semantic version; want one such as "1.0.0"`, p.Version)
	}
	if p.MaxConcurrency < 0 || p.MaxConcurrency > math.MaxInt32 {
		report("MaxConcurrency", "%d is out of range; want 0 (the host decides) or more", p.MaxConcurrency)
	}
	if n := p.Permissions.Network; !slices.Contains([]Network{"", NetworkNone, NetworkLoopback, NetworkAny}, n) {
		report("Permissions.Network", "%q is unknown; want none, loopback or any", n)
	}
	d.declareConfig(report)
	d.declareHandlers(report)
	d.declareSubscribers(report)
	d.declareEvents(report)
	if len(bad) > 0 {
		return nil, &DeclarationError{Plugin: p.Name, Problems: bad}
	}
	d.manifest = d.build()
	return d, nil
}

func (d *declaration) declareConfig(report func(place, format string, args ...any)) {
	c := d.plugin.Config
	if c == nil {
		return
	}
	v := reflect.ValueOf(c)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		report("Config", "is a %T; want a pointer to a struct, which the configuration is decoded into", c)
		return
	}
	s, err := deriveSchema(v.Type().Elem(), false)
	if err != nil {
		report("Config", "%v", err)
	}
	d.config = s
}

func (d *declaration) declareHandlers(report func(place, format string, args ...any)) {
	if len(d.plugin.Handlers) == 0 && len(d.plugin.Subscribers) == 0 {
		report("Handlers", "there are none, and no Subscribers")
	}
	for _, key := range slices.Sorted(maps.Keys(d.plugin.Handlers)) {
		place := fmt.Sprintf("Handlers[%q]", key)
		s, err := newSpec(key, d.plugin.Handlers[key])
		if err != nil {
			report(place, "%v", err)
			continue
		}
		if d.find(s.name, s.version) != nil {
			report(place, "version %d of %s is declared twice", s.version, s.name)
		}
		d.specs = append(d.specs, s)
	}
	slices.SortFunc(d.specs, func(a, b *spec) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.version, b.version))
	})
}

func (d *declaration) declareSubscribers(report func(place, format string, args ...any)) {
	if n := len(d.plugin.Subscribers); n > maxSubscriptions {
		report("Subscribers", "there are %d; want at most %d", n, maxSubscriptions)
	}
	var values []Subscriber
	for _, name := range slices.Sorted(maps.Keys(d.plugin.Subscribers)) {
		place, sub := fmt.Sprintf("Subscribers[%q]", name), d.plugin.Subscribers[name]
		if !matches(handlerNames, name) {
			report(place, "%q is no name of a subscription; want %s", name, handlerNames)
		}
		if slices.ContainsFunc(values, func(other Subscriber) bool { return same(other, sub) }) {
			report(place, "the same value serves another subscription; want one for each")
			continue
		}
		s, bad := bindSubscriber(sub)
		if s != nil {
			values = append(values, sub)
			s.name = name
			if more := s.ready(); len(bad) == 0 || len(s.routes) > 0 {
				bad = append(bad, more...)
			}
			d.subs = append(d.subs, s)
		}
		for _, err := range bad {
			report(place, "%v", err)
		}
	}
}

// subscription returns a subscription by its name, nil when there is none.
func (d *declaration) subscription(name string) *subscription {
	i := slices.IndexFunc(d.subs, func(s *subscription) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return d.subs[i]
}

// newSpec checks one handler.
func newSpec(key string, h Handler) (*spec, error) {
	name, pinned, hasVersion := strings.Cut(key, "@")
	if !matches(handlerNames, name) {
		return nil, fmt.Errorf("%q is no handler name; want %s", name, handlerNames)
	}
	b, err := bind(h)
	if err != nil {
		return nil, err
	}
	s := &spec{name: name, version: max(b.options.Version, 1), bound: b}
	if hasVersion {
		n, err := strconv.ParseUint(pinned, 10, 31)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%q is no version; want a number from 1", pinned)
		}
		if b.options.Version != 0 && b.options.Version != int(n) {
			return nil, fmt.Errorf("the name says version %d, the options say %d", n, b.options.Version)
		}
		s.version = int(n)
	}
	if err := b.options.problem(); err != nil {
		return nil, err
	}
	return s, s.derive()
}

// derive derives the schemas of the handler's types.
func (s *spec) derive() error {
	var inErr, configErr, outErr error
	s.input, inErr = deriveSchema(s.bound.in, true)
	s.config, configErr = deriveSchema(reflect.TypeOf(s.bound.options.Config), false)
	s.output, outErr = deriveSchema(s.bound.out, true)
	return errors.Join(inErr, configErr, outErr)
}

// problem returns what is wrong with the options.
func (o *Options) problem() error {
	switch {
	case o.Version < 0 || o.Version > math.MaxInt32:
		return fmt.Errorf("option Version: %d is out of range; want 0 or a number from 1", o.Version)
	case o.Timeout < 0:
		return fmt.Errorf("option Timeout: %s is negative", o.Timeout)
	case o.HeartbeatTimeout < 0:
		return fmt.Errorf("option HeartbeatTimeout: %s is negative", o.HeartbeatTimeout)
	case o.MaxConcurrency < 0 || o.MaxConcurrency > math.MaxInt32:
		return fmt.Errorf("option MaxConcurrency: %d is out of range; want 0 (the plugin's limit) or more", o.MaxConcurrency)
	case o.Idempotency < Keyed || o.Idempotency > NotIdempotent:
		return fmt.Errorf("option Idempotency: %d is unknown", o.Idempotency)
	case o.Retry.Limit < 0 || o.Retry.Limit > math.MaxInt32 || o.Retry.Base < 0 || o.Retry.Cap < 0 || o.Retry.Factor < 0:
		return errors.New("option Retry: it has a field that is out of range")
	case !slices.Contains([]Backoff{"", Exponential, Linear, Constant, Listed}, o.Retry.Backoff):
		return fmt.Errorf("option Retry.Backoff: %q is unknown; want exponential, linear, constant or list", o.Retry.Backoff)
	case (o.Retry.Backoff == Listed) != (len(o.Retry.List) > 0) && o.Retry.Backoff != "":
		return errors.New("option Retry: Backoff and List do not go together: list needs a List, and nothing else has one")
	}
	return nil
}

// find returns a handler, the highest version for 0. Nil = there is none.
func (d *declaration) find(name string, version int) *spec {
	var found *spec
	for _, s := range d.specs {
		if s.name == name && (s.version == version || version == 0 && (found == nil || found.version < s.version)) {
			found = s
		}
	}
	return found
}

// offered lists the handlers, for people.
func (d *declaration) offered() string {
	list := make([]string, len(d.specs))
	for i, s := range d.specs {
		list[i] = fmt.Sprintf("%s@%d", s.name, s.version)
	}
	return strings.Join(list, ", ")
}

// build makes the manifest.
func (d *declaration) build() *pluginv1.Manifest {
	p := d.plugin
	m := &pluginv1.Manifest{
		Name: p.Name, Version: p.Version, Title: p.Title, Description: p.Description,
		Vendor: p.Vendor, Licence: p.Licence, Homepage: p.Homepage,
		Sdk:          &pluginv1.Sdk{Language: "go", Version: Version},
		Features:     []string{pluginv1.FeatureCheckpoint, pluginv1.FeatureFetch},
		ConfigSchema: d.config.json(),
		Limits:       &pluginv1.Limits{MaxConcurrency: uint32(p.MaxConcurrency)}, //nolint:gosec // checked in declare
		Permissions: &pluginv1.Permissions{
			FsRead: p.Permissions.FSRead, FsWrite: p.Permissions.FSWrite,
			Network: string(p.Permissions.Network), Env: p.Permissions.Env, Subprocess: p.Permissions.Subprocess,
		},
	}
	for _, s := range d.specs {
		m.Handlers = append(m.Handlers, s.build())
	}
	for _, s := range d.subs {
		m.Subscriptions = append(m.Subscriptions, s.build())
	}
	for _, e := range d.sortedEvents() {
		m.Emits = append(m.Emits, e.build())
	}
	return m
}

// build makes the handler's part of the manifest.
func (s *spec) build() *pluginv1.HandlerSpec {
	o := s.bound.options
	h := &pluginv1.HandlerSpec{
		Name: s.name, Version: uint32(s.version), Description: o.Description, //nolint:gosec // checked in newSpec
		InputSchema: s.input.json(), ConfigSchema: s.config.json(), OutputSchema: s.output.json(),
		Results: pluginv1.ResultsWanted_RESULTS_WANTED_ALL, ErrorCodes: o.ErrorCodes,
		Retry:          o.Retry.build(),
		Idempotency:    idempotency(o.Idempotency),
		MaxConcurrency: uint32(o.MaxConcurrency), //nolint:gosec // checked in problem
	}
	if o.NoResults {
		h.Results = pluginv1.ResultsWanted_RESULTS_WANTED_NONE
	}
	if o.Timeout > 0 {
		h.Timeout = durationpb.New(o.Timeout)
	}
	if o.HeartbeatTimeout > 0 {
		h.HeartbeatTimeout = durationpb.New(o.HeartbeatTimeout)
	}
	return h
}

// build makes the subscription's part of the manifest.
func (s *subscription) build() *pluginv1.SubscriptionSpec {
	o := s.options
	out := &pluginv1.SubscriptionSpec{
		Name: s.name, Description: o.Description, Filter: o.Filter, Order: pluginv1.DeliveryOrder_DELIVERY_ORDER_GLOBAL,
		Window: uint32(o.Window), MaxAttempts: uint32(o.MaxAttempts), //nolint:gosec // checked in problem
		Start: o.Start, Bound: o.Bound, ConfigSchema: s.config.json(),
	}
	for _, r := range s.routes {
		out.Events = append(out.Events, r.pattern)
	}
	slices.Sort(out.GetEvents())
	if o.Order == TaskOrder {
		out.Order = pluginv1.DeliveryOrder_DELIVERY_ORDER_TASK
	}
	if o.Timeout > 0 {
		out.Timeout = durationpb.New(o.Timeout)
	}
	return out
}

// build makes the policy's wire form, nil when nothing is set.
func (r Retry) build() *pluginv1.RetryPolicy {
	if reflect.ValueOf(r).IsZero() {
		return nil
	}
	if r.Backoff == "" && len(r.List) > 0 {
		r.Backoff = Listed
	}
	out := &pluginv1.RetryPolicy{Limit: uint32(r.Limit), Backoff: string(r.Backoff), Factor: r.Factor} //nolint:gosec // checked in problem
	if r.Base > 0 {
		out.Base = durationpb.New(r.Base)
	}
	if r.Cap > 0 {
		out.Cap = durationpb.New(r.Cap)
	}
	for _, d := range r.List {
		out.List = append(out.List, durationpb.New(d))
	}
	return out
}

func idempotency(i Idempotency) pluginv1.Idempotency {
	switch i {
	case Idempotent:
		return pluginv1.Idempotency_IDEMPOTENCY_YES
	case NotIdempotent:
		return pluginv1.Idempotency_IDEMPOTENCY_NO
	default:
		return pluginv1.Idempotency_IDEMPOTENCY_KEYED
	}
}
