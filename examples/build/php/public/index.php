<?php
echo "Hello from PHP ", phpversion(), " on ", gethostname(), "\n";
