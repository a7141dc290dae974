package api

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/marathon"
)

// LogLevel is the level of the whole process's log; *logrus.Logger is one.
type LogLevel interface {
	GetLevel() logrus.Level
	SetLevel(level logrus.Level)
}

// rootLogger is the name of the one logger that there is.
const rootLogger = "ROOT"

// levels changes the log's level for a time.
type levels struct {
	of LogLevel

	mu    sync.Mutex   // guards all below
	back  *time.Timer  // sets the level back; nil: nothing to set back
	after logrus.Level // what back sets
}

// set changes the level; with d > 0 only for that long, after which the last level that was set without an end is back.
func (l *levels) set(level logrus.Level, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.of.GetLevel()
	if l.back != nil {
		l.back.Stop()
		before, l.back = l.after, nil
	}
	l.of.SetLevel(level)
	if d <= 0 {
		return
	}
	l.after = before
	var own *time.Timer
	own = time.AfterFunc(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.back == own { // not replaced while this waited for the lock
			l.of.SetLevel(l.after)
			l.back = nil
		}
	})
	l.back = own
}

// getLogging is GET /logging.
func (s *Server) getLogging(w http.ResponseWriter, r *http.Request) error {
	name := strings.ToUpper(s.levels.of.GetLevel().String())
	if name == "WARNING" {
		name = "WARN" // as POST takes it
	}
	return respond(w, r, http.StatusOK, map[string]string{rootLogger: name})
}

// maxLevelTime bounds durationSeconds; longer is for ever.
const maxLevelTime = 365 * 24 * time.Hour

// postLogging is POST /logging.
func (s *Server) postLogging(w http.ResponseWriter, r *http.Request) error {
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	var in struct {
		Level    string   `json:"level"`
		Logger   string   `json:"logger"`
		Duration *float64 `json:"durationSeconds"`
	}
	if err := decodeJSON(body, &in); err != nil {
		return err
	}
	f := &marathon.Faults{Message: "Object is not valid"}
	level, known := map[string]logrus.Level{
		"trace": logrus.TraceLevel, "debug": logrus.DebugLevel, "info": logrus.InfoLevel, "warn": logrus.WarnLevel, "error": logrus.ErrorLevel,
	}[strings.ToLower(in.Level)]
	if !known {
		f.Add("/level", "got %s, expected one of: [trace, debug, info, warn, error]", in.Level)
	}
	if in.Logger != "" && !strings.EqualFold(in.Logger, rootLogger) {
		f.Add("/logger", "there is one logger, %s", rootLogger)
	}
	var d time.Duration
	if in.Duration != nil {
		if *in.Duration <= 0 || *in.Duration > maxLevelTime.Seconds() {
			f.Add("/durationSeconds", "got %v, expected more than 0 and at most %.0f", *in.Duration, maxLevelTime.Seconds())
		}
		d = time.Duration(min(*in.Duration, maxLevelTime.Seconds()) * float64(time.Second))
	}
	if err := f.Err(); err != nil {
		return err
	}
	s.levels.set(level, d)
	// At the level that is written in any case: whoever reads the log must find why it became loud or silent.
	s.log.WithFields(logrus.Fields{"now": level.String(), "for": d.String(), "client": clientIP(r)}).Error("log level changed through the API")
	return s.getLogging(w, r)
}
