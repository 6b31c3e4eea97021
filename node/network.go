package node

import (
	"context"
	"net"
)

// Network is how a node reaches others: sockets in production, memory in the
// simulator. Addresses are "host:port".
type Network interface {
	Listen(address string) (net.Listener, error)
	ListenPacket(address string) (net.PacketConn, error)
	Dial(ctx context.Context, address string) (net.Conn, error)
}

// SystemNetwork is the Network of the operating system: TCP and UDP.
type SystemNetwork struct{}

// Listen opens a TCP listener.
func (SystemNetwork) Listen(address string) (net.Listener, error) {
	return net.Listen("tcp", address)
}

// ListenPacket opens a UDP socket.
func (SystemNetwork) ListenPacket(address string) (net.PacketConn, error) {
	return net.ListenPacket("udp", address)
}

// Dial opens a TCP connection; ctx bounds the attempt.
func (SystemNetwork) Dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}
