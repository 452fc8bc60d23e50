package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// completeTimeout is how long a shell waits for proposals.
const completeTimeout = time.Second

// completion asks for names; what goes wrong proposes nothing.
func (a *app) completion(c *cobra.Command, done []string, ask func(context.Context, *config) []string) []string {
	if len(done) > 0 {
		return nil
	}
	cfg, err := a.config(c)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.Context(), completeTimeout)
	defer cancel()
	return ask(ctx, cfg)
}

// completeTemplates proposes registered templates, and files.
func (a *app) completeTemplates(c *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.completion(c, done, func(ctx context.Context, cfg *config) []string {
		infos, err := a.templates(ctx, cfg)
		var names []string
		for i := range infos {
			if err == nil && infos[i].Latest {
				names = append(names, infos[i].Ref.Namespace+"/"+infos[i].Ref.Name)
			}
		}
		return names
	}), cobra.ShellCompDirectiveDefault
}

// completeTasks proposes the ids of the newest tasks, with status and template.
func (a *app) completeTasks(c *cobra.Command, done []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return a.completion(c, done, func(ctx context.Context, cfg *config) []string {
		s, release, err := a.reading(ctx, cfg)
		if err != nil {
			return nil
		}
		defer release()
		page, _, err := s.ListTasks(ctx, host.Filter{}, host.Page{})
		var ids []string
		for i := range page {
			id := string(page[i].Spec.ID)
			if err == nil && strings.HasPrefix(id, strings.ToUpper(prefix)) {
				ids = append(ids, id+"\t"+string(page[i].Status)+" "+page[i].Spec.Template.String())
			}
		}
		return ids
	}), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completePlugins proposes the plugins of the running host.
func (a *app) completePlugins(c *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.completion(c, done, func(ctx context.Context, cfg *config) []string {
		client, err := a.running(ctx, cfg)
		if err != nil {
			return nil
		}
		defer func() { _ = client.Close() }() // nothing was written
		found, err := client.Plugins(ctx)
		var names []string
		for i := range found {
			if err == nil {
				names = append(names, found[i].Name)
			}
		}
		return names
	}), cobra.ShellCompDirectiveNoFileComp
}
