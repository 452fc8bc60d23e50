package event

// Subscriber is the part that all events about a subscription share.
type Subscriber struct {
	Subscription string `json:"subscription" doc:"whose it is: plugin/name"`
}

// SubscriberDeadLettered is recorded when an event was put aside because its subscriber
// could not handle it.
type SubscriberDeadLettered struct {
	Subscriber

	Seq        uint64 `json:"seq" doc:"of the event that was put aside"`
	EventID    string `json:"event_id" doc:"of that event"`
	EventType  string `json:"event_type" doc:"its name"`
	TaskID     string `json:"task_id,omitempty" doc:"of the task that it is about, absent when it is about none"`
	Reason     string `json:"reason" doc:"why, as the subscriber or the host says"`
	Deliveries uint32 `json:"deliveries" doc:"how often it was delivered"`
}

// SubscriberGap is recorded when events were removed from the log before a subscription
// had got them.
type SubscriberGap struct {
	Subscriber

	FromSeq    uint64 `json:"from_seq" doc:"of the first event that is gone"`
	ThroughSeq uint64 `json:"through_seq" doc:"of the last event that is gone"`
}

// SubscriberLagging is recorded when a subscription has fallen behind the log for longer
// than the host allows.
type SubscriberLagging struct {
	Subscriber

	EventsBehind  uint64  `json:"events_behind" doc:"how many events of the log it has not done with"`
	SecondsBehind Seconds `json:"seconds_behind" doc:"age of the oldest of them"`
}

func subscriberEvents() []declaration {
	notifier := Subscriber{Subscription: "chat/failures"}
	return []declaration{
		{
			payload: SubscriberDeadLettered{
				Subscriber: notifier, Seq: 4711, EventID: exampleTask().TaskID + "/9", EventType: NameStepFailed,
				TaskID: exampleTask().TaskID, Reason: "the chat has no channel #orders", Deliveries: 5,
			},
			description: "Recorded when an event was put aside because its subscriber could not handle it.",
			firedBy:     delivery, frequency: "once per event that a subscription gives up; again when a retried one fails",
		},
		{
			payload:     SubscriberGap{Subscriber: notifier, FromSeq: 4712, ThroughSeq: 5200},
			description: "Recorded when events were removed from the log before a subscription had got them.",
			firedBy:     delivery, frequency: "once per gap and subscription",
		},
		{
			payload:     SubscriberLagging{Subscriber: notifier, EventsBehind: 1200, SecondsBehind: 61.5},
			description: "Recorded when a subscription has fallen behind the log for longer than the host allows.",
			firedBy:     delivery, frequency: "once each time that a subscription falls behind, until it has caught up",
		},
	}
}
