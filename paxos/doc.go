// Package paxos is single-decree Paxos (Lamport, "Paxos Made Simple", 2001) as
// pure steps: it decides one value among a fixed set of voters, once.
//
// An Acceptor is a voter's state. Each step returns the next state and the answer
// to send; the caller must make the state durable before the answer leaves. A
// Proposer gathers answers for one ballot; the caller carries the messages. What is
// guaranteed is agreement: however messages are lost, repeated, delayed or reordered,
// and whoever crashes and comes back with what it made durable, no two proposers
// ever decide different values. Progress needs a majority that answers and
// proposers that do not outbid each other for ever: callers back off at random.
//
// The package does no I/O, reads no clock, starts no goroutine, and is checked
// exhaustively on a small model.
package paxos
