import { serve } from "@tasker-engine/sdk";

import { plugin } from "./plugin.js";

serve(plugin);
