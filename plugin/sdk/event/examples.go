package event

import "time"

// The examples of the catalog tell of one order in a shop.

func exampleTime() time.Time { return time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC) }

func exampleTask() Task {
	return Task{
		TaskID: "01JD3Z9Q7V8T4K2M6N1P5R3S0W", Namespace: "shop", Template: "order", Version: "1.2.0",
		CorrelationID: "web-8842",
	}
}

func exampleStep() Step {
	return Step{
		Task: exampleTask(), StepID: exampleTask().TaskID + "/1", StepName: "charge", Handler: "shop/charge@2",
		AttemptNumber: 1, RetryLimit: 3, StartedAt: exampleTime(),
	}
}

func exampleEnd(status string, steps int) TaskEnded {
	return TaskEnded{
		Task: exampleTask(), StartedAt: exampleTime(), CompletedAt: exampleTime().Add(4 * time.Second),
		TotalDuration: 4.25, Totals: Totals{status: steps},
	}
}

func exampleError() Error {
	return Error{
		Message: "the bank did not answer", Class: "*shop.BankError", Code: "bank_down", Source: "downstream",
		Backtrace: []string{"main.charge shop.go:12"}, Kind: "retryable",
	}
}

func exampleOperator() Operator { return Operator{By: "ann", Reason: "the bank is back"} }
