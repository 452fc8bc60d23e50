package event

// HostStarted is recorded when a host has opened its store.
type HostStarted struct {
	HostID  string `json:"host_id" doc:"of the home, a ULID: it stays when the host is started again"`
	Epoch   uint64 `json:"epoch" doc:"how often the home was opened"`
	Version string `json:"version" doc:"of the host"`
}

// HostStopping is recorded when a host stops taking work.
type HostStopping struct {
	HostID string `json:"host_id" doc:"of the home, a ULID: it stays when the host is started again"`
	Epoch  uint64 `json:"epoch" doc:"how often the home was opened"`
	Reason string `json:"reason" doc:"stopped or failed"`
}

func hostEvents() []declaration {
	const id = "01JD3Z8M5T0000000000000000"
	return []declaration{
		{
			payload:     HostStarted{HostID: id, Epoch: 7, Version: "0.1.0"},
			description: "Recorded when a host has opened its store.",
			firedBy:     host, frequency: "once per start of a host",
		},
		{
			payload:     HostStopping{HostID: id, Epoch: 7, Reason: "stopped"},
			description: "Recorded when a host stops taking work.",
			firedBy:     host, frequency: "at most once per start of a host: not when it is killed",
		},
	}
}
