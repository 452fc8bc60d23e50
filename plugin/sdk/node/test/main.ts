// The executable of the sample.

import { serve } from "../src/index.js";
import { plugin } from "./plugin.js";

serve(plugin);
