package cli

import (
	"fmt"
	"net"
	"strings"
)

// The states that systemd is told (sd_notify).
const (
	notifyReady    = "READY=1"
	notifyStopping = "STOPPING=1"
)

// notify tells the service manager a state, if one asked to be told: NOTIFY_SOCKET
// names its datagram socket, where a leading @ stands for the abstract name space.
func (a *app) notify(state string) error {
	name, ok := a.lookup("NOTIFY_SOCKET")
	if !ok || name == "" {
		return nil
	}
	if rest, abstract := strings.CutPrefix(name, "@"); abstract {
		name = "\x00" + rest
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	_, err = conn.Write([]byte(state))
	if closeErr := conn.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}
