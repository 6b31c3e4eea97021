package rpc

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/dunlindb/dunlin/transport/wire"
)

// The service. The method Bulk is reserved for streams of ranges.
const (
	ServiceName    = "dunlin.internode.v1.Internode"
	ExchangeMethod = "/" + ServiceName + "/" + exchangeName
	ControlMethod  = "/" + ServiceName + "/" + controlName

	exchangeName = "Exchange"
	controlName  = "Control"
)

// A connection on which nothing arrives for so long, and then no answer to a ping, ends.
const (
	KeepaliveInterval = 10 * time.Second // gRPC allows no less
	KeepaliveTimeout  = 5 * time.Second
)

const (
	// Static windows switch gRPC's bandwidth estimator off, which costs
	// allocations and pings and gains nothing on one hot stream.
	streamWindow     = 1 << 20
	connectionWindow = 4 << 20
	headersMax       = 8 << 10
	streamsMax       = 16 // per connection; each kind of connection uses one
	idleMax          = time.Minute
)

// ExchangeStream describes Exchange for both ends.
func ExchangeStream(handler grpc.StreamHandler) grpc.StreamDesc {
	return grpc.StreamDesc{StreamName: exchangeName, Handler: handler, ServerStreams: true, ClientStreams: true}
}

// describe binds the service to its handlers.
func (h *Handlers) describe() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: ServiceName,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: controlName,
			Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				var in Message
				if err := decode(&in); err != nil {
					return nil, err
				}
				return h.Control(ctx, &in)
			},
		}},
		Streams: []grpc.StreamDesc{ExchangeStream(func(_ any, stream grpc.ServerStream) error {
			return h.Exchange(stream)
		})},
	}
}

// Config is what both ends have in common.
type Config struct {
	Pool       *wire.BufferPool
	ReceiveMax int           // bytes of a message that is received
	Handshake  time.Duration // bounds it
}

// Handlers serve the two methods.
type Handlers struct {
	Control  func(ctx context.Context, in *Message) (*Message, error)
	Exchange func(stream grpc.ServerStream) error
}

// NewServer makes a server of the service.
func NewServer(cfg Config, h Handlers) *grpc.Server {
	s := grpc.NewServer(
		grpc.ForceServerCodecV2(Codec{cfg.Pool}),
		grpc.MaxRecvMsgSize(cfg.ReceiveMax),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.MaxConcurrentStreams(streamsMax),
		grpc.MaxHeaderListSize(headersMax),
		grpc.ConnectionTimeout(cfg.Handshake),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: idleMax, Time: KeepaliveInterval, Timeout: KeepaliveTimeout,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: KeepaliveInterval / 2, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	)
	s.RegisterService(h.describe(), nil)
	return s
}

// Conn is a gRPC client connection for one use: it is closed, never
// reconnected, when its stream or call has ended.
type Conn struct {
	*grpc.ClientConn

	mu     sync.Mutex // guards the rest
	under  net.Conn   // what carries it; gRPC has ended earlier ones
	closed bool
}

// adopt remembers a connection that was dialled for c.
func (c *Conn) adopt(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		conn.Close()
		return
	}
	c.under = conn
}

// Close ends the connection at once: gRPC alone would wait for seconds to say
// goodbye to a peer that does not read.
func (c *Conn) Close() {
	c.mu.Lock()
	c.closed = true
	under := c.under
	c.mu.Unlock()
	if under != nil {
		under.Close()
	}
	c.ClientConn.Close()
}

// Connect prepares a connection; it is dialled with the first call.
func Connect(cfg Config, address string, dial func(ctx context.Context, address string) (net.Conn, error)) (*Conn, error) {
	c := new(Conn)
	dialAdopted := func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dial(ctx, address)
		if err == nil {
			c.adopt(conn)
		}
		return conn, err
	}
	var err error
	c.ClientConn, err = grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dialAdopted),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(Codec{cfg.Pool}),
			grpc.MaxCallRecvMsgSize(cfg.ReceiveMax),
		),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connectionWindow),
		grpc.WithMaxHeaderListSize(headersMax),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: KeepaliveInterval, Timeout: KeepaliveTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: cfg.Handshake}),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
	)
	return c, err
}
