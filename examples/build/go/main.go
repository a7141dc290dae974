// Command hello says where it runs.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"runtime"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		host, _ := os.Hostname()
		fmt.Fprintf(w, "Hello from %s on %s\n", runtime.Version(), host)
	})
	log.Fatal(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}
