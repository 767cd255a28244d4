/**
 * What {@link org.nativeport} is made of. Not exported, and free to change with any release.
 */
package org.nativeport.internal;
