// A server of the wire suite on the public centrifuge module: the Centrifuge
// protocol in JSON over WebSocket, with the module's defaults except that
// pings are off. See benches/peers/control.py for what a server must do.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"

	"github.com/centrifugal/centrifuge"
	"golang.org/x/sys/unix"
)

const (
	channel    = "bench"
	modulePath = "github.com/centrifugal/centrifuge"
)

func moduleVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == modulePath {
				return dep.Version
			}
		}
	}
	return "unknown"
}

// payload is a JSON object of exactly size bytes. The stamp is read from
// CLOCK_MONOTONIC because time.Now does not give that clock's own value, and
// the load client compares with it.
func payload(size int, padding string) []byte {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		log.Fatal(err)
	}
	data := make([]byte, 0, size)
	return fmt.Appendf(data, `{"t":"%020d","p":"%s"}`, now.Nano(), padding)
}

func main() {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, reply centrifuge.SubscribeCallback) {
			reply(centrifuge.SubscribeReply{}, nil)
		})
	})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		PingPongConfig: centrifuge.PingPongConfig{PingInterval: -1},
	}))
	go func() { log.Fatal(http.Serve(listener, nil)) }()

	ready, err := json.Marshal(map[string]any{
		"event":   "ready",
		"port":    listener.Addr().(*net.TCPAddr).Port,
		"pid":     os.Getpid(),
		"version": moduleVersion(),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(ready))

	// The fixed part of a payload: two quoted keys, 20 digits, four quotes.
	fixed := len(payload(0, ""))
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var perTick, size int
		if _, err := fmt.Sscanf(lines.Text(), "tick %d %d", &perTick, &size); err != nil || size < fixed {
			log.Fatalf("not a command: %q", lines.Text())
		}
		padding := strings.Repeat("x", size-fixed)
		for range perTick {
			if _, err := node.Publish(channel, payload(size, padding)); err != nil {
				log.Fatal(err)
			}
		}
	}
}
