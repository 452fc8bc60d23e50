package host

import (
	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/store"
)

// The words of [EventService].
type (
	// EventService is the part of a [Service] about events and who gets them.
	EventService = api.EventService
	// CatalogEntry is an event of the catalog and who is there to get it.
	CatalogEntry = api.CatalogEntry
	// SubscriptionStatus is one subscription and how it is doing.
	SubscriptionStatus = api.SubscriptionStatus
	// Outage is something that a subscriber needs and cannot reach.
	Outage = api.Outage
	// BindingInfo is one binding of a subscription.
	BindingInfo = api.BindingInfo
	// Position is a place in the log.
	Position = api.Position
	// Replay is a part of the log that is delivered once more.
	Replay = api.Replay
	// TryRequest asks for a trial of a subscriber.
	TryRequest = api.TryRequest
	// TryResult is how a trial ended.
	TryResult = api.TryResult
	// Failing is an event whose delivery failed and that will come again.
	Failing = store.Failing
	// ReplayPart is a part of the log that is being delivered once more.
	ReplayPart = store.Replay
	// DeadLetter is an event that a subscriber could not handle.
	DeadLetter = store.DeadLetter
)
