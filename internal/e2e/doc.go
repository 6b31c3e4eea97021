// Package e2e tests the binary as it is shipped: real processes on loopback
// addresses, real disks, kill -9.
//
// There are few of these tests, because the simulator shows the same things under
// far more schedules; what they add is the process: signals, sockets, exit codes,
// the command line. The binary is built once. Every node listens on an address of
// its own from 127.0.77.0/24 (`dunlin dev`: 127.0.78.0/24), so that tests can run
// beside a development cluster. Only the partition has a network of its own, in
// namespaces, where that is allowed.
//
// Nothing here asserts times on a wall clock beyond generous deadlines. Linux only:
// other systems have one loopback address. The short run keeps the loss of nodes.
package e2e
