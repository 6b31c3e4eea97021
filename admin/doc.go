// Package admin is the port for people and machines that look after a node:
// health, metrics, profiles, status, and the few operations there are.
//
// It says what the node tells it (the Node interface, which package node
// implements) and holds no state. The JSON types here are the contract; package
// client reads the same fields.
//
// Handlers run on the server's goroutines; Run owns the server.
package admin
