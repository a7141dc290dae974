// Package svc runs what package unit describes in a container whose PID 1 is s6-svscan. Each service that is started is a folder below
// /run/service that s6-supervise watches; its run and finish are the program berth-svc itself. There is no process of ours that lives
// longer than a call, but for services whose main process only a parent can follow (forking, notify).
package svc
