package transport

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

// The service is described by hand: its messages are bytes, so there is nothing
// to generate. The method Bulk is reserved for streams of ranges.
const (
	serviceName    = "dunlin.internode.v1.Internode"
	exchangeName   = "Exchange"
	controlName    = "Control"
	exchangeMethod = "/" + serviceName + "/" + exchangeName
	controlMethod  = "/" + serviceName + "/" + controlName
)

const (
	keepaliveInterval = 10 * time.Second // gRPC allows no less
	keepaliveTimeout  = 5 * time.Second
	// Static windows switch gRPC's bandwidth estimator off, which costs
	// allocations and pings and gains nothing on one hot stream.
	streamWindow     = 1 << 20
	connectionWindow = 4 << 20
	headersMax       = 8 << 10
	streamsMax       = 16 // per connection; each kind of connection uses one
	idleMax          = time.Minute
	// frameSlack is what a frame may exceed its largest item by: header, and acks
	// packed behind it.
	frameSlack = 512 << 10
)

// exchangeStream describes Exchange for both ends.
func exchangeStream(handler grpc.StreamHandler) grpc.StreamDesc {
	return grpc.StreamDesc{StreamName: exchangeName, Handler: handler, ServerStreams: true, ClientStreams: true}
}

// describe binds the service to this transport.
func (t *Transport) describe() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: controlName,
			Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				var in message
				if err := decode(&in); err != nil {
					return nil, err
				}
				return t.serveControl(ctx, &in)
			},
		}},
		Streams: []grpc.StreamDesc{exchangeStream(func(_ any, stream grpc.ServerStream) error {
			return t.serveExchange(stream)
		})},
	}
}

// receiveMax bounds any message that this node receives.
func (t *Transport) receiveMax() int {
	return max(t.cfg.RequestBytes+frameSlack, t.cfg.AnswerBytes+frameSlack, t.cfg.ControlBytes+2*wire.HelloMax)
}

// newServer makes the gRPC server; Run serves the gate with it.
func (t *Transport) newServer() *grpc.Server {
	s := grpc.NewServer(
		grpc.ForceServerCodecV2(rawCodec{t.pool}),
		grpc.MaxRecvMsgSize(t.receiveMax()),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.MaxConcurrentStreams(streamsMax),
		grpc.MaxHeaderListSize(headersMax),
		grpc.ConnectionTimeout(t.cfg.HelloTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: idleMax, Time: keepaliveInterval, Timeout: keepaliveTimeout,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveInterval / 2, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	)
	s.RegisterService(t.describe(), nil)
	return s
}

// connection is a gRPC client connection for one use: it is closed, never
// reconnected, when its stream or call has ended.
type connection struct {
	*grpc.ClientConn

	mu     sync.Mutex // guards the rest
	under  net.Conn   // what carries it; gRPC has ended earlier ones
	closed bool
}

// adopt remembers a connection that was dialled for c.
func (c *connection) adopt(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		conn.Close()
		return
	}
	c.under = conn
}

// close ends the connection at once: gRPC alone would wait for seconds to say
// goodbye to a peer that does not read.
func (c *connection) close() {
	c.mu.Lock()
	c.closed = true
	under := c.under
	c.mu.Unlock()
	if under != nil {
		under.Close()
	}
	c.ClientConn.Close()
}

// connect prepares a connection; it is dialled with the first call.
func (t *Transport) connect(address string) (*connection, error) {
	c := new(connection)
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := t.env.Dial(ctx, address)
		if err == nil {
			c.adopt(conn)
		}
		return conn, err
	}
	var err error
	c.ClientConn, err = grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dial),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(rawCodec{t.pool}),
			grpc.MaxCallRecvMsgSize(t.receiveMax()),
		),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connectionWindow),
		grpc.WithMaxHeaderListSize(headersMax),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveInterval, Timeout: keepaliveTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: t.cfg.DialTimeout}),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
	)
	return c, err
}
