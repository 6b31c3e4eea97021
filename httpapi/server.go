package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Server returns an http.Server for the front door: HTTP/1.1, and HTTP/2 without
// TLS for clients that know that it is spoken (prior knowledge).
func (a *API) Server() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           a,
		Protocols:         protocols,
		ReadHeaderTimeout: a.cfg.HeaderTimeout,
		// Each answer sets a nearer deadline when it begins (bulk: with every
		// piece); this one makes net/http set the connection's anew for a request.
		WriteTimeout:   a.cfg.TimeoutMax + a.cfg.BodyTimeout + a.cfg.AnswerTimeout,
		IdleTimeout:    a.cfg.IdleTimeout,
		MaxHeaderBytes: 64<<10 + 8*a.cfg.KeyBytes, // names, escaped, and a cursor
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          256,
			MaxReceiveBufferPerConnection: 1 << 20,
			MaxReceiveBufferPerStream:     256 << 10,
			SendPingTimeout:               30 * time.Second,
			PingTimeout:                   15 * time.Second,
		},
		ErrorLog: slog.NewLogLogger(a.env.Logger.Handler(), slog.LevelDebug),
	}
}

// Run serves connections of l until ctx ends. Then it refuses new ones, lets bulk
// requests end with what they have, waits for the rest up to Config.StopTimeout,
// and returns. It may be called once.
func (a *API) Run(ctx context.Context, l net.Listener) error {
	server := a.Server()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("httpapi: serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	a.bulk.Stop()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.StopTimeout)
	defer cancel()
	err := server.Shutdown(drain)
	if err != nil {
		err = errors.Join(fmt.Errorf("httpapi: requests are still in flight after %s: %w", a.cfg.StopTimeout, err), server.Close())
	}
	<-served
	return err
}
