// Package scheduler is the owner loop of the apps, tasks, addresses and offers. In come commands of the API, events of the
// engine (Mesos, or the embedded one) and reports of the hosts' agents; out go transactions to the store, calls to the
// engine, host documents and events for subscribers.
//
// One goroutine, Run, touches the state. It drains what came in, asks the deciding packages what follows (plan, deploy,
// address, place, lifecycle, health, hostdoc, launch), and hands a batch to the committer: first the transaction becomes
// durable, then the batch's effects happen. So a task is in the store before the engine hears of it, and whoever starts
// next can reconcile it. The loop itself never waits for the disk or the network.
package scheduler
