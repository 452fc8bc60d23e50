package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/template"
)

func (a *app) templateCommand() *cobra.Command {
	return a.noun("template", "Check, list and draw templates",
		a.templateCheckCommand(), a.templateListCommand(), a.templateShowCommand(), a.templateGraphCommand(),
		a.templateSchemaCommand(), a.templateImportCommand(), a.templateTestCommand(), a.templateNewCommand(),
	)
}

// templates returns the registered templates: those of the host that runs in the home,
// else those of the template directories.
func (a *app) templates(ctx context.Context, cfg *config) ([]host.TemplateInfo, error) {
	client, err := a.running(ctx, cfg)
	if err == nil {
		defer func() { _ = client.Close() }() // nothing was written
		return client.Templates(ctx)
	}
	if !errors.Is(err, host.ErrNoHost) {
		return nil, err
	}
	set, err := template.Load(template.Options{Environment: cfg.Environment}, cfg.TemplateDirs...)
	if err != nil {
		return nil, err
	}
	for _, d := range set.Problems() {
		a.note("warning: left out: %s", d.Error())
	}
	entries := set.List()
	infos := make([]host.TemplateInfo, len(entries))
	for i, e := range entries {
		infos[i] = host.TemplateInfo{
			Ref: e.Template.Ref(), Description: e.Template.Description, Path: e.File, Environment: cfg.Environment,
			Steps: len(e.Template.Steps), InputSchema: e.Template.Input, Handlers: handlerNames(e.Template),
			Latest: i+1 == len(entries) || entries[i+1].Template.Namespace != e.Template.Namespace ||
				entries[i+1].Template.Name != e.Template.Name,
		}
	}
	return infos, nil
}

func handlerNames(t *template.Template) []string {
	var names []string
	for _, ref := range t.Handlers() {
		names = append(names, ref.String())
	}
	return names
}

// template finds one template: a file, or one that is registered.
func (a *app) template(ctx context.Context, cfg *config, ref string) (*host.TemplateInfo, *template.Template, error) {
	if isTemplateFile(ref) {
		t, err := parseTemplate(ref, cfg.Environment)
		if err != nil {
			return nil, nil, err
		}
		src, err := os.ReadFile(ref)
		if err != nil {
			return nil, nil, fmt.Errorf("template: %w", err)
		}
		return &host.TemplateInfo{
			Ref: t.Ref(), Description: t.Description, Path: ref, Environment: cfg.Environment, Steps: len(t.Steps),
			Handlers: handlerNames(t), InputSchema: t.Input, Source: src, Snapshot: t.Snapshot(),
		}, t, nil
	}
	info, err := a.registered(ctx, cfg, ref)
	if err != nil {
		return nil, nil, withHint(err, "tasker template list")
	}
	t, err := template.FromSnapshot(info.Snapshot)
	if err != nil {
		return nil, nil, fmt.Errorf("template %s: %w", ref, err)
	}
	return info, t, nil
}

// registered finds a template by name.
func (a *app) registered(ctx context.Context, cfg *config, ref string) (*host.TemplateInfo, error) {
	client, err := a.running(ctx, cfg)
	if err == nil {
		defer func() { _ = client.Close() }() // nothing was written
		return client.Template(ctx, ref)
	}
	if !errors.Is(err, host.ErrNoHost) {
		return nil, err
	}
	set, err := template.Load(template.Options{Environment: cfg.Environment}, cfg.TemplateDirs...)
	if err != nil {
		return nil, err
	}
	t, err := set.Get(ref)
	if err != nil {
		return nil, err
	}
	info := &host.TemplateInfo{
		Ref: t.Ref(), Description: t.Description, Environment: cfg.Environment, Steps: len(t.Steps),
		Handlers: handlerNames(t), InputSchema: t.Input, Snapshot: t.Snapshot(),
	}
	for _, e := range set.List() {
		if e.Template.Ref() == t.Ref() {
			info.Path = e.File
			if info.Source, err = os.ReadFile(e.File); err != nil {
				return nil, fmt.Errorf("template: %w", err)
			}
		}
	}
	return info, nil
}
