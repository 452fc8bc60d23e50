package pluginv1

// What host and plugin agree on before the first RPC: the go-plugin handshake.
const (
	// CookieKey and CookieValue tell a plugin that a Tasker host started it; they are a
	// user-experience feature, not a security measure.
	CookieKey   = "TASKER_PLUGIN"
	CookieValue = "9d2c8a51e7c14c0f8c6a3f6ab35d1e0c"

	// ExitDeclaration is the exit status of a plugin that is declared wrongly and has printed
	// how: a host does not start it again by itself.
	ExitDeclaration = 78

	// ProtocolVersion is the major version of the wire.
	ProtocolVersion = 1

	// ServiceSet is the key under which go-plugin knows the plugin's services.
	ServiceSet = "tasker"

	// MaxMessageBytes is the largest gRPC message that either side sends or accepts.
	MaxMessageBytes = 16 << 20

	// StreamWindowBytes and ConnWindowBytes are how much either side takes of a stream, and
	// of a connection, before it was read. Fixed windows spare the pings with which gRPC
	// would measure the connection after each frame.
	StreamWindowBytes = 1 << 20
	ConnWindowBytes   = 4 << 20

	// MaxFrameItems and MaxFrameBytes bound a frame of the Work stream; a frame is larger
	// only when it holds a single item that is.
	MaxFrameItems = 64
	MaxFrameBytes = 1 << 20

	// MaxInlineResults is the size in bytes up to which dependency results travel with
	// an attempt; the rest is fetched.
	MaxInlineResults = 1 << 20
)

// Minor protocol features, as Describe exchanges them.
const (
	FeatureCheckpoint = "step.checkpoint.v1"
	FeatureFetch      = "step.fetch.v1"
)
