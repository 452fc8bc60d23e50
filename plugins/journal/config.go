package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// config is the plugin's configuration.
type config struct {
	Path       string       `json:"path,omitempty"        jsonschema_description:"The file; relative to the plugin's data directory. {namespace}, {template} and {family} stand for those of the event. Default events.jsonl, or events.csv."`
	Format     string       `json:"format,omitempty"      jsonschema:"enum=jsonl,enum=csv" jsonschema_description:"JSON Lines, or CSV. Default jsonl."`
	Columns    []string     `json:"columns,omitempty"     jsonschema_description:"The columns of CSV: members of an event as JSON Lines have it, or a path into its payload, such as data.error_message. There must be id and time. Default all members."`
	Fsync      string       `json:"fsync,omitempty"       jsonschema:"enum=always,enum=batch,enum=never" jsonschema_description:"When what is written is forced to the disk: before each event is acked, within fsync_after, or when the system likes. Default batch."`
	FsyncAfter sdk.Duration `json:"fsync_after,omitempty" jsonschema_description:"How long fsync: batch may wait. Default 1s."`
	Chain      bool         `json:"chain,omitempty"       jsonschema_description:"Each JSON line carries the SHA-256 of the line before it, so that a change is found."`
	Rotate     rotation     `json:"rotate,omitzero"       jsonschema_description:"When a file is put aside and a new one begun."`
}

// rotation is when a file is put aside, and what becomes of it.
type rotation struct {
	SizeMiB int64        `json:"size_mib,omitempty" jsonschema:"minimum=1" jsonschema_description:"A file that would grow beyond this size, in MiB. Default 100."`
	Age     sdk.Duration `json:"age,omitempty"      jsonschema_description:"A file whose first event is this much older than the next one. Default never."`
	Keep    int          `json:"keep,omitempty"     jsonschema:"minimum=1" jsonschema_description:"How many files that were put aside are kept. Default all."`
	Gzip    bool         `json:"gzip,omitempty"     jsonschema_description:"Compress files that are put aside."`
}

// The formats and the fsync policies.
const (
	formatJSON = "jsonl"
	formatCSV  = "csv"

	fsyncAlways = "always"
	fsyncBatch  = "batch"
	fsyncNever  = "never"
)

// The defaults of the configuration.
const (
	defaultFsyncAfter = sdk.Duration(time.Second)
	defaultSizeMiB    = 100
)

func (c config) withDefaults() config {
	c.Format = cmp.Or(c.Format, formatJSON)
	c.Path = cmp.Or(c.Path, "events."+c.Format)
	c.Fsync = cmp.Or(c.Fsync, fsyncBatch)
	c.FsyncAfter = cmp.Or(c.FsyncAfter, defaultFsyncAfter)
	c.Rotate.SizeMiB = cmp.Or(c.Rotate.SizeMiB, defaultSizeMiB)
	if c.Format == formatCSV && len(c.Columns) == 0 {
		c.Columns = members()
	}
	return c
}

// validate refuses what the schema cannot.
func (c config) validate() error {
	switch {
	case c.Chain && c.Format != formatJSON:
		return errors.New("/chain: only the format jsonl can be chained")
	case len(c.Columns) > 0 && c.Format != formatCSV:
		return errors.New("/columns: only the format csv has columns")
	}
	if _, err := c.place(strings.NewReplacer("{namespace}", "", "{template}", "", "{family}", "")); err != nil {
		return err
	}
	return c.validateColumns()
}

func (c config) validateColumns() error {
	for i, column := range c.Columns {
		switch {
		case !slices.Contains(members(), column) && !strings.HasPrefix(column, "data."):
			return fmt.Errorf("/columns/%d: there is no %q; there are %s and data.MEMBER", i, column, strings.Join(members(), ", "))
		case slices.Contains(c.Columns[:i], column):
			return fmt.Errorf("/columns/%d: %q is there already", i, column)
		}
	}
	if c.Format == formatCSV && (!slices.Contains(c.Columns, "id") || !slices.Contains(c.Columns, "time")) {
		return errors.New("/columns: want id and time among them: by these, events that come again are recognised")
	}
	return nil
}

// place returns the path with what stands in braces replaced.
func (c config) place(r *strings.Replacer) (string, error) {
	path := r.Replace(c.Path)
	if strings.ContainsAny(path, "{}") {
		return "", errors.New("/path: in braces there may be namespace, template and family")
	}
	return path, nil
}
