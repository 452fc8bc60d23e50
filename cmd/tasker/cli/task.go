package cli

import "github.com/spf13/cobra"

func (a *app) taskCommand() *cobra.Command {
	return a.noun("task", "Create, inspect and steer tasks",
		a.taskCreateCommand(), a.taskListCommand(), a.taskShowCommand(), a.taskTimelineCommand(), a.taskTraceCommand(), a.taskWaitCommand(), a.taskWhyCommand(),
		a.taskCancelCommand(), a.taskPauseCommand(), a.taskResumeCommand(), a.taskRetryCommand(), a.taskResolveCommand(),
		a.taskExportCommand(), a.taskDeleteCommand(),
	)
}
