package main

import "testing"

func TestGist(t *testing.T) {
	if gist("/web 0/1 ready, waits: delay of 1s, until 10:00:01.5") != gist("/web 0/1 ready, waits: delay of 1.15s, until 10:00:02.9") {
		t.Error("the figures of the reason are news")
	}
	if gist("/web 0/2 ready") == gist("/web 1/2 ready") {
		t.Error("the figures of the progress are no news")
	}
}
